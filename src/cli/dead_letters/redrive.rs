//! `dead-letters redrive`: asks the running bridges to make failed deliveries again.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    super::{
        flags::{OutputFlag, Settings},
        output::{self, fail},
    },
    batch::{Batch, Pace},
    discard::selects,
    edit::{self, Edited},
    pass::{Context, Pass},
    prepare::{self, Audit},
    select::Filter,
};
use crate::{
    bridge::{Exit, RedriveCheck, load_routing},
    kafka::MarkKind,
};

/// Flags of `dead-letters redrive`.
#[derive(Debug, Args)]
pub(super) struct Redrive {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    pace: Pace,
    /// Also dead letters whose LangGraph thread has a run or cannot be asked, events that the ledger has forgotten, and records
    /// of which nobody knows what was delivered: agents may run twice
    #[arg(long)]
    force: bool,
    /// Also dead letters that were redriven or discarded before; the bridges recognise what was redriven
    #[arg(long)]
    done: bool,
    /// Correct the record of this one dead letter with $VISUAL or $EDITOR, and publish it
    #[arg(long, conflicts_with = "value")]
    edit: bool,
    /// Publish the record of this one dead letter with the content of this file as its value
    #[arg(long, value_name = "FILE")]
    value: Option<PathBuf>,
    #[command(flatten)]
    form: OutputFlag,
    #[command(flatten)]
    settings: Settings,
}

impl Redrive {
    pub(super) fn main(&self) -> Result<ExitCode, ExitCode> {
        selects(&self.filter, &self.pace)?;
        let is_corrected = self.edit || self.value.is_some();
        if is_corrected && self.filter.letter.len() != 1 {
            return Err(fail(Exit::Usage, &"one dead letter is corrected at a time: name it with --letter"));
        }
        let context = Context::open(&self.settings)?;
        let mut batch = Batch::new(&context, &self.pace, MarkKind::Redriven, self.form.is_json())?;
        if is_corrected {
            self.correct(&context, &mut batch)?;
            return batch.finish();
        }
        let check = Self::check(&context)?;
        let mut found = 0_u64;
        for topic in context.asked(&self.filter)? {
            let mut failed = None;
            Pass::open(&context, topic, &self.filter)?.letters(&self.filter, &mut |letter| {
                if letter.done.is_some() && !self.done {
                    return true;
                }
                if !batch.has_room() {
                    return false;
                }
                found += 1;
                match prepare::redrive(&context, &check, letter, self.force) {
                    Ok(prepared) => failed = batch.add(topic, prepared).err(),
                    Err(why) => batch.refuse(&Audit::of(letter), &why),
                }
                failed.is_none() && batch.has_room()
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        if found == 0 {
            output::note(format_args!("no open dead letter is selected in {}", context.topics.join(", ")));
        }
        batch.finish()
    }

    fn check(context: &Context) -> Result<RedriveCheck, ExitCode> {
        let config = &context.config;
        // The clients of the agents belong to a runtime.
        let _entered = context.runtime.enter();
        load_routing(&config.routing_dir, config.dedup_window, &context.environment)
            .and_then(RedriveCheck::new)
            .map_err(|error| fail(Exit::Config, &error))
    }

    fn correct(&self, context: &Context, batch: &mut Batch<'_>) -> Result<(), ExitCode> {
        let mut result = Err("there is no such dead letter, or it is done already: --done takes that one too");
        for topic in context.asked(&self.filter)? {
            let mut corrected = None;
            Pass::open(context, topic, &self.filter)?.letters(&self.filter, &mut |letter| {
                if letter.done.is_none() || self.done {
                    corrected = Some(match &self.value {
                        Some(file) => edit::from_file(context, letter, file),
                        None => edit::in_editor(context, letter),
                    });
                }
                false
            })?;
            if let Some(Edited { audit, prepared }) = corrected {
                if let Some(exit) = context.interrupt.exit() {
                    // Ctrl-C after the editor: it is not published, and no work is lost.
                    match &prepared {
                        Ok(prepared) => prepared.say_where_the_text_is(),
                        Err(why) => batch.refuse(&audit, why),
                    }
                    return Err(exit);
                }
                match prepared {
                    Ok(prepared) => batch.add(topic, prepared)?,
                    Err(why) => batch.refuse(&audit, &why),
                }
                result = Ok(());
            }
        }
        if let Some(exit) = context.interrupt.exit() {
            return result.map_err(|_| exit);
        }
        result.map_err(|message| fail(Exit::Data, &message))
    }
}
