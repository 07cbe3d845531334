//! The log: to standard error, as text for people or as one JSON object per line for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Environment variable whose filter directives are used when no level is chosen.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only what a person must act on.
    Error,
    /// Also what dockgate recovered from.
    Warn,
    /// Also every change of state.
    Info,
    /// Also every event.
    Debug,
    /// Also every detail, of the libraries too.
    Trace,
}

impl Level {
    /// The filter directives: dockgate at the level; its libraries only when they warn, or when every detail is asked
    /// for.
    fn directives(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "warn,dockgate=info",
            Level::Debug => "warn,dockgate=debug",
            Level::Trace => "debug,dockgate=trace",
        }
    }
}

/// The form of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The chosen level; without one `RUST_LOG` decides, and without that `default_level`.
    pub level: Option<Level>,
    /// Level when nothing is chosen.
    pub default_level: Level,
    /// Form of the lines.
    pub format: Format,
    /// Whether text is coloured; `None` is: on a terminal only.
    pub colour: Option<bool>,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directives in the environment cannot be read.
    #[error("cannot read the log filter in {FILTER_VARIABLE}")]
    Filter(#[from] tracing_subscriber::filter::FromEnvError),
    /// A subscriber is installed already.
    #[error("the log is already set up")]
    Installed(#[from] tracing::subscriber::SetGlobalDefaultError),
}

impl Log {
    /// Installs it for the whole process.
    pub fn install(&self) -> Result<(), Error> {
        let filter = self.filter()?;
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.format {
            Format::Json => {
                tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())?;
            }
            Format::Text => {
                let colour = self.colour.unwrap_or_else(|| std::io::stderr().is_terminal());
                tracing::subscriber::set_global_default(builder.with_ansi(colour).with_target(false).finish())?;
            }
        }
        Ok(())
    }

    fn filter(&self) -> Result<EnvFilter, tracing_subscriber::filter::FromEnvError> {
        let from_environment = std::env::var_os(FILTER_VARIABLE).is_some_and(|value| !value.is_empty());
        match self.level {
            None if from_environment => EnvFilter::try_from_env(FILTER_VARIABLE),
            chosen => Ok(EnvFilter::new(chosen.unwrap_or(self.default_level).directives())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_filter() {
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            let filter: EnvFilter = level.directives().parse().unwrap();
            assert!(!filter.to_string().is_empty(), "{level:?}");
        }
    }

    #[test]
    fn a_chosen_level_stands_above_the_default() {
        let log = |level| Log { level, default_level: Level::Warn, format: Format::Text, colour: None };
        assert!(log(Some(Level::Debug)).filter().unwrap().to_string().contains("dockgate=debug"));
    }
}
