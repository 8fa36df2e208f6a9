//! Many requests, one commit.
//!
//! Whoever leads the queue takes all that wait, checks each against the state, commits all that are good in one
//! transaction, applies each and answers each. Thirty pods that start at once so wait for one write to the disk and not
//! for thirty.

use std::collections::BTreeSet;

use proto::v1;

use super::key::Key;
use super::plan::{Plan, Verdict, deletions};
use super::queue::{Answer, Job, Outcome, Work};
use super::refusal::Refusal;
use crate::error::Error;
use crate::store::{Change, Store};
use crate::switch::{Applied, Entry, Switch, asked, lock};
use crate::validate::Port;

impl Switch {
    /// Has a request done, with others that wait, by this thread or another.
    pub(super) fn submit(&self, work: Work) -> Answer {
        self.submit_all(vec![work]).pop().unwrap_or_else(|| Err(Refusal::Lost.into()))
    }

    /// Has several requests done; answers in their order.
    pub(super) fn submit_all(&self, work: Vec<Work>) -> Vec<Answer> {
        self.queue.submit(work, |mut jobs| {
            let mut store = lock(&self.changes);
            while !jobs.is_empty() {
                jobs = self.round(&mut store, jobs);
            }
        })
    }

    /// One commit. Gives back what is for the next round, which is never all.
    fn round(&self, store: &mut Store, jobs: Vec<Job>) -> Vec<Job> {
        let mut claims = BTreeSet::new();
        let mut planned: Vec<(Job, Plan)> = Vec::new();
        let mut later = Vec::new();
        for job in jobs {
            let verdict = match &job.work {
                Work::Attach(wanted) => self.plan_attach(wanted, &mut claims),
                Work::Detach(key) => self.plan_detach(key, &mut claims),
            };
            match verdict {
                Ok(Verdict::Plan(plan)) => planned.push((job, plan)),
                Ok(Verdict::Answer(answer)) => job.answer(answer),
                Ok(Verdict::Later) => later.push(job),
                Err(e) => job.answer(Err(e)),
            }
        }
        if planned.is_empty() {
            return later;
        }
        let changes: Vec<Change> = planned.iter().flat_map(|(_, plan)| plan.changes()).collect();
        let committed = store.commit(&changes);
        self.show_store(store);
        match committed {
            Ok(()) => self.apply(store, planned),
            Err(e) => {
                for (job, _) in planned {
                    job.answer(Err(e.clone().into()));
                }
            }
        }
        later
    }

    /// After the commit: first all that goes, then all that comes.
    fn apply(&self, store: &mut Store, planned: Vec<(Job, Plan)>) {
        let mut coming = Vec::new();
        for (job, plan) in planned {
            for gone in plan.going() {
                self.take_out(gone);
            }
            match plan {
                Plan::Detach(attachment) => {
                    tracing::info!(key = %Key::of(&attachment), port = attachment.port, "detached");
                    job.answer(Ok(Outcome::Detached(true)));
                }
                Plan::Attach { attachment, port, made, evicted } => {
                    coming.push((job, attachment, port, made, evicted));
                }
            }
        }
        let mut refused = Vec::new();
        for (job, attachment, port, made, evicted) in coming {
            match self.put_in(&attachment, &port, made, &evicted) {
                Ok(()) => {
                    tracing::info!(key = %Key::of(&attachment), port = attachment.port, "attached");
                    job.answer(Ok(Outcome::Attached(attachment)));
                }
                Err(e) => refused.push((job, attachment, port, made, e)),
            }
        }
        if refused.is_empty() {
            return;
        }
        let undo: Vec<Change> =
            refused.iter().flat_map(|(_, attachment, ..)| deletions(attachment)).collect();
        let undone = store.commit(&undo);
        self.show_store(store);
        for (job, attachment, port, made, refusal) in refused {
            match &undone {
                Ok(()) => {
                    self.take_out(&attachment);
                    if made {
                        self.places().clean(&attachment.directory);
                    }
                    job.answer(Err(refusal));
                }
                Err(e) => {
                    // It stays wanted, as the store has it.
                    let mut state = self.write();
                    let applied = Applied::Waiting("refused when it was attached".into());
                    let entry = Entry { port: *port, applied };
                    state.ports.entry(attachment.port.clone()).or_insert(entry);
                    state.attachments.insert(Key::of(&attachment), *attachment);
                    drop(state);
                    job.answer(Err(Error::NotUndone { refusal: Box::new(refusal), store: e.clone() }));
                }
            }
        }
    }

    /// The port into the dataplane, then the facts to where the pod reads them.
    fn put_in(
        &self,
        attachment: &v1::Attachment,
        port: &Port,
        made: bool,
        evicted: &[v1::Attachment],
    ) -> Result<(), Error> {
        if evicted.iter().any(|gone| gone.directory == attachment.directory) {
            // It went with its former owner.
            self.places().prepare(&attachment.directory, made)?;
        }
        let network = self.read().networks[&port.spec.network].id;
        let id = self.datapath.add_port(asked(port, network))?;
        {
            let mut state = self.write();
            let entry = Entry { port: port.clone(), applied: Applied::As(id) };
            state.ports.insert(port.spec.name.clone(), entry);
            state.attachments.insert(Key::of(attachment), attachment.clone());
        }
        self.places().write_port_file(attachment).map_err(|e| {
            let path = self.places().of(&attachment.directory).port;
            Refusal::NoDirectory { path, why: e.to_string() }.into()
        })
    }

    /// The port out of the state and the dataplane, then its directories emptied, unless another's are the same.
    fn take_out(&self, attachment: &v1::Attachment) {
        let (entry, reused) = {
            let mut state = self.write();
            state.attachments.remove(&Key::of(attachment));
            let reused = state.attachments.values().any(|other| other.directory == attachment.directory);
            (state.ports.remove(&attachment.port), reused)
        };
        if let Some(id) = entry.and_then(|entry| entry.id()) {
            self.remove_from_datapath(&attachment.port, id);
        }
        if !reused {
            self.places().clean(&attachment.directory);
        }
    }
}
