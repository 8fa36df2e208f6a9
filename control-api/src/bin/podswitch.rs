//! `podswitch`, the command line; everything is in `control_api::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    control_api::cli::main()
}
