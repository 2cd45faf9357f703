//! Helpers for functions and filters of the engine.

use minijinja::{
    Error, ErrorKind, State, Value as Dynamic,
    value::{Rest, ValueOrKwargs},
};

/// A closure with the signature of the engine's functions.
pub(super) fn callable<F>(function: F) -> impl Fn(&mut State<'_, '_>, Rest<ValueOrKwargs>) -> Result<Dynamic, Error>
where
    F: Fn(&mut State<'_, '_>, &[Dynamic]) -> Result<Dynamic, Error> + Send + Sync + 'static,
{
    move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| function(state, &arguments.into_values())
}

/// A mistake in how a filter is used.
pub(super) fn invalid(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}
