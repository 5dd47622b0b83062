//! `countersign-stack`: the command behind the aliases `cargo up`, `cargo ci` and `cargo filter`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use countersign_stack::postgres::Durability;
use countersign_stack::standin::Standin;
use countersign_stack::{artifacts, ci, postgres, standin, tools, up};

/// Runs the Countersign platform on this machine, and its tests.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start issuer, Envoy and three stand-in services, and keep them running until Ctrl-C
    Up {
        /// Run the scripted tour on free ports instead, and exit: 0 if every line holds
        #[arg(long, conflicts_with_all = ["fresh", "port_base"])]
        once: bool,
        #[command(flatten)]
        choices: up::Choices,
    },
    /// Build the filter as it is shipped and print where it is
    Filter {
        /// On the `proxy-wasm` crate instead of our own ABI
        #[arg(long)]
        sdk: bool,
        /// As an OCI image that Istio and Envoy Gateway load; prints its folder and its digest
        #[arg(long, conflicts_with = "sdk")]
        oci: bool,
    },
    /// Set up and pass every check and test
    Ci,
    /// Look for dependencies with known vulnerabilities; fetches the advisory database
    Advisories,
    /// Run a command with `TEST_DATABASE_URL` set to a private PostgreSQL server, which is gone afterwards
    Postgres {
        /// Let its commits wait for the disk, as those of a server in use do
        #[arg(long)]
        durable: bool,
        /// What is run, with `TEST_DATABASE_URL` in its environment
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run one stand-in service
    #[command(hide = true)]
    Standin {
        service: Standin,
        #[arg(long)]
        listen: SocketAddr,
        /// The issuer's internal listener, for the ticker; its token is in `COUNTERSIGN_SERVICE_TOKEN`
        #[arg(long)]
        issuer: Option<SocketAddr>,
    },
}

// One thread: a child is tied to the life of the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    if !matches!(command, Command::Standin { .. }) {
        tools::check_workspace()?;
    }
    match command {
        Command::Up { once: false, choices } => up::run(&choices).await,
        Command::Up { once: true, choices } => up::tour(&choices).await,
        Command::Filter { oci: true, .. } => {
            artifacts::filter_image().map(|(folder, digest)| println!("{} {digest}", folder.display()))
        }
        Command::Filter { sdk, .. } => {
            let module = if sdk { artifacts::sdk_filter() } else { artifacts::filter() };
            module.map(|module| println!("{}", module.display()))
        }
        Command::Ci => ci::run_all().await,
        Command::Advisories => ci::advisories().await,
        Command::Postgres { durable, command } => {
            let durability = if durable { Durability::On } else { Durability::Off };
            postgres::run_with(durability, &command).await
        }
        Command::Standin { service, listen, issuer } => standin::run(service, listen, issuer).await,
    }
}
