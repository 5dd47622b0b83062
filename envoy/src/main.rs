//! `countersign-stack`: the command behind the aliases `cargo up`, `cargo ci` and `cargo filter`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_stack::standin::Standin;
use countersign_stack::{artifacts, ci, standin, up};

/// Runs the Countersign platform on this machine, and its tests.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start issuer, Envoy and three stand-in services, and keep them running until Ctrl-C
    Up {
        /// Run the scripted tour on free ports instead, and exit: 0 if every line holds
        #[arg(long)]
        once: bool,
        /// Empty target/up first: accounts, keys and logs of earlier runs are gone
        #[arg(long, conflicts_with = "once")]
        fresh: bool,
    },
    /// Build the filter as it is shipped and print where it is
    Filter {
        /// On the `proxy-wasm` crate instead of our own ABI
        #[arg(long)]
        sdk: bool,
    },
    /// Set up and pass every check and test
    Ci,
    /// Run one stand-in service
    #[command(hide = true)]
    Standin {
        service: Standin,
        #[arg(long)]
        listen: SocketAddr,
    },
}

// One thread: a child is tied to the life of the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Up { once: false, fresh } => up::run(fresh).await,
        Command::Up { once: true, .. } => up::tour().await,
        Command::Filter { sdk } => {
            let module = if sdk { artifacts::sdk_filter() } else { artifacts::filter() };
            module.map(|module| println!("{}", module.display()))
        }
        Command::Ci => ci::run_all(),
        Command::Standin { service, listen } => standin::run(service, listen).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
