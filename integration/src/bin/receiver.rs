//! `receiver PORT FOLDER`: an HTTPS receiver of alerts on loopback, as a SIEM's collector is one.
//!
//! It makes an authority of its own at every start and leaves its certificate in FOLDER/ca.pem, written once it listens.
//! What is posted is appended to FOLDER/received.ndjson and synced before it is acknowledged.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let served = match arguments.as_slice() {
        [port, folder] => interdict_integration::receiver::serve(port, folder.as_ref()),
        _ => Err(anyhow::anyhow!("usage: receiver PORT FOLDER")),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("receiver: {error:#}");
            ExitCode::from(2)
        }
    }
}
