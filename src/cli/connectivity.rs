//! `dockgate connectivity`: who may reach whom, on which ports, in a form that was asked for.
//!
//! Input: policies and a world. Output: the table of [`crate::reach`], or a part of it, as text, data or picture. The
//! forms share one [`View`], so that none of them knows more than another.

mod choice;
pub(super) mod csv;
mod dot;
mod html;
mod json;
mod markdown;
mod matrix;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::compile::{self, Options};
use crate::net::Protocol;
use crate::reach::Reach;
use crate::reach::table::{By, Table};

use super::explain::port;
use super::output::plain;
use super::report_options::refuse_format_as_file;
use super::world::{PolicyArguments, WorldArguments};
use super::{Outcome, file};

use choice::Choice;
use view::View;

/// Show who may reach whom, on which protocols and ports
///
/// Compiles the policies as `run` does and asks the very rules that the kernel gets, about every port and not about some.
/// Replicas are one service where their answers are the same; addresses outside are one row where theirs are. What Docker
/// itself keeps apart is not shown, and neither is who talks to himself. Exit code 0: here is the answer; 2: there is none.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Form of the answer
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    format: Format,

    /// Write the answer to this file, whole or not at all
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What has a row of its own
    #[arg(long, value_enum, default_value_t = ByArgument::Service, value_name = "WHAT")]
    by: ByArgument,

    /// Only who connects: name of a container, service or network, selector, address, `host` or `outside`; can be repeated
    #[arg(long, value_name = "PARTY")]
    from: Vec<String>,

    /// Only to whom: name of a container, service or network, selector, address, `host` or `outside`; can be repeated
    #[arg(long, value_name = "PARTY")]
    to: Vec<String>,

    /// Only containers on this network, with this host and the outside
    #[arg(long, value_name = "NAME")]
    network: Option<String>,

    /// Only this port, as in 80/tcp, 53/udp or 80; the container's own when it is published under another
    #[arg(long, value_name = "PORT", value_parser = port)]
    port: Option<(u16, Protocol)>,

    /// Also list what policy denies; matrices have it always
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    policies: PolicyArguments,

    #[command(flatten)]
    world: WorldArguments,
}

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For machines; the fields are an interface
    Json,
    /// RFC 4180, a line for each protocol
    Csv,
    /// A table of GitHub's Markdown
    Md,
    /// A graph for Graphviz
    Dot,
    /// A matrix as a picture
    Svg,
    /// A page with a matrix, a list and a filter, in one file
    Html,
}

/// What is told as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ByArgument {
    /// Every container
    Container,
    /// The replicas of a service
    Service,
    /// A network: what holds between all containers of two networks, and what between some
    Network,
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        refuse_format_as_file::<Format>(self.output.as_deref())?;
        let policies = self.policies.require()?;
        let sources = self.policies.files();
        let inputs = self.world.files().chain(sources.iter().map(|source| source.path.as_path()));
        file::refuse_input("--output", self.output.as_deref(), inputs)?;
        let inventory = self.world.inventory().await?;
        let compiled = compile::compile(&policies, &inventory, &Options::default());
        let reach = Reach::new(&inventory, &compiled, &BTreeSet::new());
        let by = match self.by {
            ByArgument::Container => By::Container,
            ByArgument::Service => By::Service,
            ByArgument::Network => By::Network,
        };
        let table = Table::new(&reach, &inventory, by);
        let asked = Choice { from: &self.from, to: &self.to, network: self.network.as_deref(), port: self.port };
        let chosen = asked.choose(&table, &reach, &inventory)?;
        let view = View::new(&table, &reach, &compiled, &inventory, chosen, self.all);
        if let Some(path) = &self.output {
            file::write(path, &plain(|output| self.write(&view, output))?)?;
            writeln!(output, "{}", view.summary())?;
            view.write_notes(output)?;
        } else {
            self.write(&view, output)?;
            if self.format == Format::Csv {
                // It has no place for them. Whether they can be written does not change the answer.
                let _ = view.write_notes(&mut anstream::stderr());
            }
        }
        Ok(Outcome::Yes)
    }

    fn write(&self, view: &View<'_>, output: &mut dyn Write) -> anyhow::Result<()> {
        match self.format {
            Format::Table => table::write(view, output)?,
            Format::Json => json::write(view, output)?,
            Format::Csv => csv::write(view, output)?,
            Format::Md => markdown::write(view, output)?,
            Format::Dot => dot::write(view, output)?,
            Format::Svg => svg::write(view, output)?,
            Format::Html => html::write(view, output)?,
        }
        Ok(())
    }
}
