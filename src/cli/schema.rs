//! `plimsoll schema`: what editors and readers need to know of the files.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::config::schema::CONFIG;
use crate::policy::schema::policy::POLICY;
use crate::policy::schema::prices::PRICES;
use crate::policy::schema::suite::SUITE;
use crate::policy::schema::{Map, json_schema, reference};

use super::output;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum File {
    /// A policy.
    Policy,
    /// The boot configuration, plimsoll.yaml.
    Config,
    /// Tests of a policy.
    Tests,
    /// Prices of models.
    Prices,
}

impl File {
    fn table(self) -> (&'static str, &'static Map) {
        match self {
            Self::Policy => ("Policy reference", &POLICY),
            Self::Config => ("Configuration reference", &CONFIG),
            Self::Tests => ("Reference of policy tests", &SUITE),
            Self::Prices => ("Reference of price files", &PRICES),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which file it is about.
    #[arg(value_enum, default_value = "policy")]
    file: File,
    /// Print the reference for people, as Markdown.
    #[arg(long)]
    markdown: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let (title, table) = arguments.file.table();
    let text = if arguments.markdown { reference(title, table) } else { format!("{:#}\n", json_schema(table)) };
    output::raw(&text);
    ExitCode::SUCCESS
}
