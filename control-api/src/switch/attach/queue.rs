//! The queue of attachments and deletions: who waits, who works, how an answer finds its way.
//!
//! Whoever finds nobody at work leads: it takes all that waits, its own among it, has it done, and hands over to the
//! first of those that came meanwhile. The others sleep until they are answered or are to lead. A leader that panics
//! hands over too, and what it had taken is answered as lost.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use proto::v1;

use super::key::Key;
use super::refusal::Refusal;
use super::request::Wanted;
use crate::error::Error;
use crate::switch::lock;

/// What is asked for.
#[derive(Debug)]
pub(super) enum Work {
    Attach(Box<Wanted>),
    Detach(Key),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Attached(Box<v1::Attachment>),
    /// Whether there was one.
    Detached(bool),
}

pub(super) type Answer = Result<Outcome, Error>;

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Waiting,
    /// Its thread is to lead.
    Lead,
    Done(Answer),
    /// The answer was taken.
    Over,
}

#[derive(Debug, Default)]
struct Slot {
    stage: Mutex<Stage>,
    changed: Condvar,
}

impl Slot {
    fn set(&self, stage: Stage) {
        *lock(&self.stage) = stage;
        self.changed.notify_one();
    }
}

/// A request that waits, and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    slot: Arc<Slot>,
}

impl Job {
    pub(super) fn answer(&self, answer: Answer) {
        self.slot.set(Stage::Done(answer));
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let mut stage = lock(&self.slot.stage);
        if matches!(*stage, Stage::Waiting | Stage::Lead) {
            *stage = Stage::Done(Err(Refusal::Lost.into()));
            self.slot.changed.notify_one();
        }
    }
}

/// The queue of one switch.
#[derive(Debug, Default)]
pub(in crate::switch) struct Queue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: Vec<Job>,
    /// Somebody leads, or has been told to.
    led: bool,
}

impl Queue {
    /// Has all of `work` done, with what others wait for, by this thread or another: `lead` takes jobs and answers each.
    /// Answers are in the order of `work`.
    pub(super) fn submit(&self, work: Vec<Work>, lead: impl Fn(Vec<Job>)) -> Vec<Answer> {
        let slots: Vec<Arc<Slot>> = work.iter().map(|_| Arc::default()).collect();
        let jobs = work.into_iter().zip(&slots).map(|(work, slot)| Job { work, slot: Arc::clone(slot) });
        let first = {
            let mut inner = lock(&self.inner);
            inner.jobs.extend(jobs);
            !std::mem::replace(&mut inner.led, true)
        };
        if first {
            self.lead(&lead);
        }
        slots.iter().map(|slot| self.wait(slot, &lead)).collect()
    }

    fn wait(&self, slot: &Slot, lead: &impl Fn(Vec<Job>)) -> Answer {
        let mut stage = lock(&slot.stage);
        loop {
            match std::mem::replace(&mut *stage, Stage::Over) {
                Stage::Done(answer) => return answer,
                Stage::Over => return Err(Refusal::Lost.into()),
                Stage::Lead => {
                    *stage = Stage::Waiting;
                    drop(stage);
                    self.lead(lead);
                    stage = lock(&slot.stage);
                }
                Stage::Waiting => {
                    *stage = Stage::Waiting;
                    stage = slot.changed.wait(stage).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn lead(&self, lead: &impl Fn(Vec<Job>)) {
        let _hand_over = HandOver(self);
        let jobs = std::mem::take(&mut lock(&self.inner).jobs);
        lead(jobs);
    }
}

/// Whatever happens to a leader, there is a next one if anybody waits.
struct HandOver<'a>(&'a Queue);

impl Drop for HandOver<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.0.inner);
        match inner.jobs.first() {
            Some(job) => job.slot.set(Stage::Lead),
            None => inner.led = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(n: usize) -> Key {
        Key { network: "n".into(), container: n.to_string(), ifname: "i".into() }
    }

    #[test]
    fn each_is_answered_once_and_many_at_once() {
        let queue = Queue::default();
        let (rounds, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let lead = |jobs: Vec<Job>| {
            rounds.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(1));
            for job in jobs {
                done.fetch_add(1, Ordering::Relaxed);
                job.answer(Ok(Outcome::Detached(true)));
            }
        };
        std::thread::scope(|scope| {
            for client in 0..16 {
                let (queue, lead) = (&queue, &lead);
                scope.spawn(move || {
                    for n in 0..20 {
                        let answers =
                            queue.submit(vec![Work::Detach(key(client)), Work::Detach(key(n))], lead);
                        assert!(answers.len() == 2 && answers.iter().all(Result::is_ok));
                    }
                });
            }
        });
        assert_eq!(done.load(Ordering::Relaxed), 16 * 20 * 2);
        assert!(rounds.load(Ordering::Relaxed) <= 16 * 20);
        assert!(!lock(&queue.inner).led);
    }

    #[test]
    fn a_panic_of_the_leader_loses_its_round_alone() {
        let queue = Queue::default();
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            queue.submit(vec![Work::Detach(key(1))], |_| panic!("on purpose"))
        }));
        assert!(died.is_err());
        let answers = queue.submit(vec![Work::Detach(key(2))], |jobs| {
            jobs.iter().for_each(|job| job.answer(Ok(Outcome::Detached(false))));
        });
        assert!(matches!(answers[0], Ok(Outcome::Detached(false))));
        // One that forgets a job does not leave its thread waiting for ever.
        let answers = queue.submit(vec![Work::Detach(key(3))], drop);
        assert!(matches!(answers[0], Err(Error::Attach(Refusal::Lost))));
    }
}
