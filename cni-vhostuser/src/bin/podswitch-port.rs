//! `podswitch-port`: in a pod, says what an application needs to use its port.

use std::io::Write;
use std::process::ExitCode;

use cni_vhostuser::port_info;

fn main() -> ExitCode {
    let answer = port_info::answer(std::env::args_os().skip(1));
    match answer {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("podswitch-port: {error}");
            ExitCode::from(error.status())
        }
    }
}
