//! `dead-letters discard`: marks letters that nobody needs. They stay in the topic as long as its retention says.

use std::process::ExitCode;

use clap::Args;

use super::{
    super::{
        flags::{OutputFlag, Settings},
        output::fail,
    },
    batch::{Batch, Pace},
    pass::{Context, Pass},
    prepare::Prepared,
    select::Filter,
};
use crate::{bridge::Exit, kafka::MarkKind};

/// Flags of `dead-letters discard`.
#[derive(Debug, Args)]
pub(super) struct Discard {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    form: OutputFlag,
    #[command(flatten)]
    settings: Settings,
}

impl Discard {
    pub(super) fn main(&self) -> Result<ExitCode, ExitCode> {
        selects(&self.filter, &self.pace)?;
        let context = Context::open(&self.settings)?;
        let mut batch = Batch::new(&context, &self.pace, MarkKind::Discarded, self.form.is_json())?;
        for topic in context.asked(&self.filter)? {
            let mut failed = None;
            Pass::open(&context, topic, &self.filter)?.letters(&self.filter, &mut |letter| {
                if letter.done.is_some() {
                    return true;
                }
                if batch.has_room() {
                    failed = batch.add(topic, Prepared::discarded(letter)).err();
                }
                failed.is_none() && batch.has_room()
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        batch.finish()
    }
}

/// Everything is done only by somebody who says so.
pub(super) fn selects(filter: &Filter, pace: &Pace) -> Result<(), ExitCode> {
    if filter.is_empty() && !pace.all {
        return Err(fail(Exit::Usage, &"select some dead letters, as with --agent or --since, or say --all"));
    }
    Ok(())
}
