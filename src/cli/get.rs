//! `dockgate get`: what dockgate sees of the host and of the policies.

mod endpoints;
mod inventory;
mod networks;
mod policies;

use std::fmt::Display;
use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::Outcome;
use super::output::{json, table, yaml};

/// Show endpoints, policies, networks or the whole inventory
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    resource: Resource,
}

#[derive(Debug, Subcommand)]
enum Resource {
    #[command(visible_alias = "endpoint")]
    Endpoints(endpoints::Arguments),
    #[command(visible_alias = "policy")]
    Policies(policies::Arguments),
    #[command(visible_alias = "network")]
    Networks(networks::Arguments),
    Inventory(inventory::Arguments),
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// Aligned columns
    Table,
    /// Aligned columns, more of them
    Wide,
    /// For machines; the fields are an interface
    Json,
    /// The same as YAML
    Yaml,
}

impl Arguments {
    pub(super) async fn execute(self, output: &mut dyn Write) -> anyhow::Result<Outcome> {
        match self.resource {
            Resource::Endpoints(arguments) => arguments.execute(output).await?,
            Resource::Policies(arguments) => arguments.execute(output).await?,
            Resource::Networks(arguments) => arguments.execute(output).await?,
            Resource::Inventory(arguments) => arguments.execute(output).await?,
        }
        Ok(Outcome::Yes)
    }
}

/// A resource in a table.
trait Listed {
    /// Header of the table; the columns from `NARROW` on are for the wide form.
    const HEADER: &'static [&'static str];
    /// Number of columns in the narrow form.
    const NARROW: usize;

    /// The cells of one row, as many as the header has.
    fn cells(&self) -> Vec<String>;
}

/// Prints a list whose rows are the JSON form as well.
fn list<T: Listed + Serialize>(output: &mut dyn Write, format: ListFormat, items: &[T]) -> anyhow::Result<()> {
    print(output, format, items, &items)
}

/// Prints rows as a table, or a document in one of the machine-readable forms.
fn print<T: Listed>(
    output: &mut dyn Write,
    format: ListFormat,
    rows: &[T],
    document: &impl Serialize,
) -> anyhow::Result<()> {
    let columns = match format {
        ListFormat::Json => return json(output, document),
        ListFormat::Yaml => return yaml(output, document),
        ListFormat::Table => T::NARROW,
        ListFormat::Wide => T::HEADER.len(),
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.cells().into_iter().take(columns).collect()).collect();
    table(output, &T::HEADER[..columns], &rows)?;
    Ok(())
}

/// `a=1,b=2`
fn pairs<T: Display>(labels: impl IntoIterator<Item = (T, T)>) -> String {
    labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}
