//! The filters, tests and functions of templates: those of the engine, each charged before it is called.
//!
//! Owns the list of what a template may call and what each of them costs. Those whose result can be far larger than
//! their arguments, such as `replace` and `indent`, are reimplemented in `filters.rs`.

use minijinja::{Environment, Error, State, Value as Dynamic, filters, functions, tests, value::ValueKind};

use super::{
    filters as ours,
    functions::callable,
    guard,
    meter::{Meter, NODE, SLOT, length},
};

/// How the cost of a filter depends on its first argument. The other arguments are always read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cost {
    /// Constant, except for the characters of a text.
    Constant,
    /// Iterates over its items without reading them.
    Items,
    /// Makes as many lists as the second argument says.
    Counted,
    /// Reads all of it, and its other arguments once for each item.
    Whole,
    /// Makes a text of it, at most this many times as long.
    Text(u64),
    /// Compares its items with one another.
    Sorting,
    /// Adds its items, one after the other.
    Adding,
}

/// Every filter of the engine that a template may use unchanged.
fn engine_filters() -> Vec<(&'static str, Cost, Dynamic)> {
    use Cost::{Adding, Constant, Counted, Items, Sorting, Text, Whole};
    vec![
        ("abs", Whole, Dynamic::from_function(filters::abs)),
        ("attr", Constant, Dynamic::from_function(filters::attr)),
        ("batch", Counted, Dynamic::from_function(filters::batch)),
        ("bool", Constant, Dynamic::from_function(filters::bool)),
        ("capitalize", Text(3), Dynamic::from_function(filters::capitalize)),
        ("chain", Items, Dynamic::from_function(filters::chain)),
        ("count", Constant, Dynamic::from_function(filters::length)),
        ("d", Constant, Dynamic::from_function(filters::default)),
        ("default", Constant, Dynamic::from_function(filters::default)),
        ("dictsort", Sorting, Dynamic::from_function(filters::dictsort)),
        ("e", Text(6), Dynamic::from_function(filters::escape)),
        ("escape", Text(6), Dynamic::from_function(filters::escape)),
        ("first", Constant, Dynamic::from_function(filters::first)),
        ("float", Whole, Dynamic::from_function(filters::float)),
        ("groupby", Sorting, Dynamic::from_function(filters::groupby)),
        ("int", Whole, Dynamic::from_function(filters::int)),
        ("items", Items, Dynamic::from_function(filters::items)),
        ("join", Text(1), Dynamic::from_function(filters::join)),
        ("last", Constant, Dynamic::from_function(filters::last)),
        ("length", Constant, Dynamic::from_function(filters::length)),
        ("list", Items, Dynamic::from_function(filters::list)),
        ("lower", Text(3), Dynamic::from_function(filters::lower)),
        ("map", Whole, Dynamic::from_function(filters::map)),
        ("max", Whole, Dynamic::from_function(filters::max)),
        ("min", Whole, Dynamic::from_function(filters::min)),
        ("reject", Whole, Dynamic::from_function(filters::reject)),
        ("rejectattr", Whole, Dynamic::from_function(filters::rejectattr)),
        ("reverse", Items, Dynamic::from_function(filters::reverse)),
        ("round", Whole, Dynamic::from_function(filters::round)),
        ("safe", Text(1), Dynamic::from_function(filters::safe)),
        ("select", Whole, Dynamic::from_function(filters::select)),
        ("selectattr", Whole, Dynamic::from_function(filters::selectattr)),
        ("slice", Counted, Dynamic::from_function(filters::slice)),
        ("sort", Sorting, Dynamic::from_function(filters::sort)),
        ("string", Text(1), Dynamic::from_function(filters::string)),
        ("sum", Adding, Dynamic::from_function(filters::sum)),
        ("title", Text(3), Dynamic::from_function(filters::title)),
        ("trim", Text(1), Dynamic::from_function(filters::trim)),
        ("unique", Sorting, Dynamic::from_function(filters::unique)),
        ("upper", Text(3), Dynamic::from_function(filters::upper)),
        ("zip", Items, Dynamic::from_function(filters::zip)),
    ]
}

/// Every test of the engine that reads its arguments; the others cost nothing.
fn engine_tests() -> Vec<(&'static [&'static str], Dynamic)> {
    vec![
        (&["divisibleby"], Dynamic::from_function(tests::is_divisibleby)),
        (&["endingwith"], Dynamic::from_function(tests::is_endingwith)),
        (&["eq", "equalto", "=="], Dynamic::from_function(tests::is_eq)),
        (&["filter"], Dynamic::from_function(tests::is_filter)),
        (&["ge", ">="], Dynamic::from_function(tests::is_ge)),
        (&["gt", "greaterthan", ">"], Dynamic::from_function(tests::is_gt)),
        (&["in"], Dynamic::from_function(tests::is_in)),
        (&["le", "<="], Dynamic::from_function(tests::is_le)),
        (&["lower"], Dynamic::from_function(tests::is_lower)),
        (&["lt", "lessthan", "<"], Dynamic::from_function(tests::is_lt)),
        (&["ne", "!="], Dynamic::from_function(tests::is_ne)),
        (&["sameas"], Dynamic::from_function(tests::is_sameas)),
        (&["startingwith"], Dynamic::from_function(tests::is_startingwith)),
        (&["test"], Dynamic::from_function(tests::is_test)),
        (&["upper"], Dynamic::from_function(tests::is_upper)),
    ]
}

/// Installs the filters, tests, functions and guards, and removes what has no bound.
pub(super) fn install(engine: &mut Environment<'static>) {
    for (name, cost, original) in engine_filters() {
        engine.add_filter(name, callable(move |state, arguments| filter(name, cost, &original, state, arguments)));
    }
    for (names, original) in engine_tests() {
        for name in names {
            let original = original.clone();
            engine.add_test(*name, callable(move |state, arguments| test(&original, state, arguments)));
        }
    }
    ours::install(engine);
    let range = Dynamic::from_function(functions::range);
    engine.add_function("range", callable(move |state, arguments| range.call(state, arguments)));
    let dict = Dynamic::from_function(functions::dict);
    engine.add_function("dict", callable(move |state, arguments| filter("dict", Cost::Items, &dict, state, arguments)));
    // It prints the whole context, for debugging.
    engine.remove_global("debug");
    // Without it a loop cannot build on itself, neither in size nor in depth.
    engine.remove_global("namespace");
    // Its indentation makes a text many times as long as the value: `tojson(true)` is bounded.
    engine.remove_filter("pprint");
    install_guards(engine);
}

fn install_guards(engine: &mut Environment<'static>) {
    engine.add_function(guard::READ, |state: &State<'_, '_>, value: Dynamic| {
        if is_small(&value) {
            return Ok(value);
        }
        Meter::of(state)?.weigh(&value)?;
        Ok(value)
    });
    engine.add_function(guard::JOIN, |state: &State<'_, '_>, value: Dynamic, copies: Option<u64>| {
        let meter = Meter::of(state)?;
        let weight = meter.weigh_printed(&value)?;
        meter.memory(weight.saturating_mul(copies.unwrap_or(1)))?;
        Ok::<_, Error>(value)
    });
    engine.add_function(guard::ITEM, |state: &State<'_, '_>, value: Dynamic| {
        let meter = Meter::of(state)?;
        meter.work(length(&value))?;
        if value.kind() == ValueKind::Iterable {
            count(&value, &meter)?;
        }
        Ok::<_, Error>(value)
    });
    engine.add_function(guard::PART, |state: &State<'_, '_>, value: Dynamic| {
        let meter = Meter::of(state)?;
        // A text is taken apart into its characters when it is sliced backwards.
        meter.memory(length(&value).saturating_mul(5))?;
        count(&value, &meter)?;
        Ok::<_, Error>(value)
    });
    engine.add_function(guard::LIST, |state: &State<'_, '_>, value: Dynamic| {
        let meter = Meter::of(state)?;
        list(value, &meter)
    });
    engine.add_function(guard::TIMES, |state: &State<'_, '_>, left: Dynamic, right: Dynamic| {
        let meter = Meter::of(state)?;
        ours::times(&left, &right, &meter)
    });
}

/// Whether a value is so small that reading it costs no more than an instruction.
fn is_small(value: &Dynamic) -> bool {
    value.as_object().is_none() && length(value) <= NODE
}

fn test(original: &Dynamic, state: &mut State<'_, '_>, arguments: &[Dynamic]) -> Result<Dynamic, Error> {
    let meter = Meter::of(state)?;
    for argument in arguments.iter().filter(|argument| !is_small(argument)) {
        meter.weigh(argument)?;
    }
    original.call(state, arguments)
}

fn filter(
    name: &str,
    cost: Cost,
    original: &Dynamic,
    state: &mut State<'_, '_>,
    arguments: &[Dynamic],
) -> Result<Dynamic, Error> {
    let meter = Meter::of(state)?;
    if let Some((value, others)) = arguments.split_first() {
        let mut extra = 0;
        for other in others.iter().filter(|other| cost != Cost::Constant || !is_small(other)) {
            extra += meter.weigh(other)?;
        }
        charge(cost, value, others, extra, &meter)?;
    }
    let result = original.call(state, arguments)?;
    if name == "chain" && result.kind() == ValueKind::Map {
        // The engine's looks a key up in one map after the other.
        meter.memory(count(&result, &meter)?.saturating_mul(4 * SLOT))?;
        let pairs = result.try_iter()?.map(|key| result.get_item(&key).map(|item| (key, item)));
        return pairs.collect::<Result<Vec<_>, _>>().map(|pairs| pairs.into_iter().collect());
    }
    match cost {
        Cost::Items | Cost::Whole | Cost::Sorting | Cost::Adding => list(result, &meter),
        _ => Ok(result),
    }
}

fn charge(cost: Cost, value: &Dynamic, others: &[Dynamic], extra: u64, meter: &Meter) -> Result<(), Error> {
    // The characters of a text become items, and items a list, of pairs or of lists at the most.
    let items = |meter: &Meter| -> Result<u64, Error> {
        let count = count(value, meter)?.saturating_add(length(value));
        meter.memory(count.saturating_mul(4 * SLOT).saturating_mul(1 + others.len() as u64))?;
        Ok(count)
    };
    match cost {
        Cost::Constant => {
            meter.work(length(value))?;
            if value.kind() == ValueKind::Iterable {
                count(value, meter)?;
            }
        }
        Cost::Items => drop(items(meter)?),
        Cost::Counted => {
            items(meter)?;
            let wanted = others.first().and_then(Dynamic::as_usize).unwrap_or_default() as u64;
            meter.memory(wanted.saturating_mul(4 * SLOT))?;
        }
        Cost::Whole => {
            let count = items(meter)?;
            meter.weigh(value)?;
            meter.work(count.saturating_mul(extra))?;
        }
        Cost::Text(factor) => {
            let weight = meter.weigh_printed(value)?;
            let joined = count(value, meter)?.saturating_mul(extra);
            meter.memory(weight.saturating_add(joined).saturating_mul(factor))?;
        }
        Cost::Sorting => {
            let count = items(meter)?;
            let rounds = u64::from(count.max(1).ilog2()) + 1;
            let weight = meter.weigh(value)?;
            // Keys are folded to lower case first.
            meter.memory(length(value).saturating_add(weight))?;
            meter.work(weight.saturating_mul(rounds).saturating_add(count.saturating_mul(extra)))?;
        }
        Cost::Adding => {
            let count = items(meter)?;
            let weight = meter.weigh(value)?;
            let is_start =
                |other: &Dynamic| !other.is_kwargs() || other.get_attr("start").is_ok_and(|it| !it.is_undefined());
            if others.iter().skip(usize::from(!others.first().is_some_and(Dynamic::is_kwargs))).any(is_start) {
                // With a start that is no number every sum is a copy of the one before.
                meter.memory(count.saturating_mul(weight.saturating_add(extra)))?;
            }
        }
    }
    Ok(())
}

/// The number of items of a list or a map; 0 for anything else. Iterating over them is charged.
fn count(value: &Dynamic, meter: &Meter) -> Result<u64, Error> {
    let count = match value.kind() {
        ValueKind::Seq | ValueKind::Map => value.len().unwrap_or_default() as u64,
        ValueKind::Iterable => {
            let mut count = 0;
            for item in value.try_iter()?.checked() {
                item?;
                meter.work(NODE)?;
                count += 1;
            }
            return Ok(count);
        }
        _ => return Ok(0),
    };
    meter.work(count.saturating_mul(NODE))?;
    Ok(count)
}

/// Collects a lazy sequence into a list, so that nothing is computed twice or without being charged.
fn list(value: Dynamic, meter: &Meter) -> Result<Dynamic, Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) || value.is_tuple() {
        return Ok(value);
    }
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        meter.memory(SLOT)?;
        meter.work(NODE)?;
        items.push(item?);
    }
    Ok(Dynamic::from(items))
}
