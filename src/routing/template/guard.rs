//! A template rewritten so that every operation on data of any size is charged to the meter.
//!
//! The engine's operators cannot be replaced, so its syntax tree is printed again with their operands
//! wrapped in guards: `a in b` becomes `(__(a) in __(b))`. Owns what of the language is allowed: what
//! is not charged here must be charged by a filter, a test or a function of `builtins.rs`, or take a
//! time that does not depend on data. Line numbers are kept, for messages.

use std::{fmt::Write, mem::discriminant};

use minijinja::{
    Error, Value as Dynamic,
    machinery::{
        ast::{BinOpKind, Call, CallArg, CallType, CompareOpKind, Expr, ForLoop, IfCond, Stmt, UnaryOpKind},
        parse, parse_expr,
    },
    value::ValueKind,
};

use super::variables::Marked;

/// The longest name in a template, in bytes: looking one up reads all of it.
const MAX_NAME: usize = 256;

/// The longest constant key that is looked up without a guard.
const MAX_KEY: u64 = 256;

/// The most expressions within one another, or branches of an `if`, where the engine has no limit of its
/// own: it goes through them with a call for each.
const MAX_CHAIN: usize = 400;

/// Guards: they return their operand, having charged for it. `READ` for an operand that is read
/// as a whole, `JOIN` for one that is copied into a new value, `ITEM` for one that is indexed, `PART`
/// for one that is sliced; `LIST` makes a list of a lazy sequence. `TIMES` is `*`.
pub(super) const READ: &str = "__";
pub(super) const JOIN: &str = "__join";
pub(super) const ITEM: &str = "__item";
pub(super) const PART: &str = "__part";
pub(super) const LIST: &str = "__list";
pub(super) const TIMES: &str = "__times";

/// The beginning of every name of ours.
pub(super) const OURS: &str = "__";

/// Why a template cannot be rewritten.
pub(super) enum Refused {
    /// It is no template.
    Syntax(Error),
    /// It is one, with something in it that templates here do not have.
    Unsupported { what: String, line: u16 },
}

type Result<T = ()> = std::result::Result<T, Refused>;

/// A template's text, guarded.
pub(super) fn template(marked: &Marked) -> Result<String> {
    let syntax = minijinja::syntax::SyntaxConfig::default();
    let tree = parse(&marked.text, "template", syntax).map_err(Refused::Syntax)?;
    let mut printer = Printer::new(marked);
    printer.statement(&tree)?;
    Ok(printer.text)
}

/// An expression, guarded; `None` when the text is none.
pub(super) fn expression(text: &str, marked: &Marked) -> Option<Result<String>> {
    let tree = parse_expr(text).ok()?;
    let mut printer = Printer::new(marked);
    Some(printer.expression(&tree).map(|()| printer.text))
}

struct Printer<'m> {
    text: String,
    /// The line that is being written.
    line: u16,
    /// How many expressions are being written, each a part of the one before.
    depth: usize,
    marked: &'m Marked,
}

impl<'m> Printer<'m> {
    fn new(marked: &'m Marked) -> Self {
        Self { text: String::new(), line: 1, depth: 0, marked }
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Goes on to a line. Only within tags, where a line break means nothing.
    fn go_to(&mut self, line: u16) {
        while self.line < line {
            self.text.push('\n');
            self.line += 1;
        }
    }

    fn refuse<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Refused::Unsupported { what: what.into(), line: self.line })
    }

    /// The name of a variable, a filter, a test or a function.
    fn name(&mut self, name: &str) -> Result {
        if name.starts_with(OURS) {
            return self.refuse(format!("a name that begins with `{OURS}`"));
        }
        self.attribute(name)
    }

    fn attribute(&mut self, name: &str) -> Result {
        if self.marked.marks(name) {
            let name: String = name.chars().take(MAX_NAME).collect();
            return self.refuse(format!("a variable in a name, `{name}` (a variable is a text: `x['${{NAME}}']`)"));
        }
        if name.len() > MAX_NAME {
            return self.refuse(format!("a name longer than {MAX_NAME} bytes"));
        }
        self.put(name);
        Ok(())
    }

    fn body(&mut self, statements: &[Stmt<'_>]) -> Result {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Result {
        match statement {
            Stmt::Template(template) => self.body(&template.children)?,
            Stmt::EmitExpr(emit) => {
                self.put("{{ ");
                self.go_to(emit.span().start_line);
                self.expression(&emit.expr)?;
                self.put(" }}");
            }
            // Through the formatter, which charges for it: in a loop in a capture it could grow for ever.
            Stmt::EmitRaw(raw) => {
                self.put("{{ ");
                self.quoted(raw.raw);
                self.put(" }}");
            }
            Stmt::ForLoop(each) => self.for_loop(each, each.span().start_line)?,
            Stmt::IfCond(condition) => self.condition(condition, condition.span().start_line)?,
            Stmt::WithBlock(with) => {
                self.open("with", with.span().start_line);
                for (index, (target, value)) in with.assignments.iter().enumerate() {
                    self.put(if index > 0 { ", " } else { "" });
                    self.assignment(target, value)?;
                }
                self.put(" %}");
                self.body(&with.body)?;
                self.put("{% endwith %}");
            }
            Stmt::Set(set) => {
                self.open("set", set.span().start_line);
                self.assignment(&set.target, &set.expr)?;
                self.put(" %}");
            }
            Stmt::SetBlock(set) => {
                self.open("set", set.span().start_line);
                self.target(&set.target)?;
                if let Some(filter) = &set.filter {
                    self.put(" | ");
                    self.filters(filter)?;
                }
                self.put(" %}");
                self.body(&set.body)?;
                self.put("{% endset %}");
            }
            Stmt::FilterBlock(block) => {
                self.open("filter", block.span().start_line);
                self.filters(&block.filter)?;
                self.put(" %}");
                self.body(&block.body)?;
                self.put("{% endfilter %}");
            }
            Stmt::Do(call) => {
                self.open("do", call.span().start_line);
                self.call(&call.call)?;
                self.put(" %}");
            }
            Stmt::AutoEscape(escape) => {
                self.line = self.line.max(escape.span().start_line);
                return self.refuse("`autoescape` (nothing is escaped; `tojson` quotes a text for JSON)");
            }
        }
        Ok(())
    }

    fn open(&mut self, tag: &str, line: u16) {
        self.put("{% ");
        self.go_to(line);
        self.put(tag);
        self.put(" ");
    }

    /// `elif` after `elif` is no deeper than the first of them.
    fn condition(&mut self, condition: &IfCond<'_>, line: u16) -> Result {
        self.open("if", line);
        let mut condition = condition;
        for _ in 0..MAX_CHAIN {
            self.expression(&condition.expr)?;
            self.put(" %}");
            self.body(&condition.true_body)?;
            match condition.false_body.as_slice() {
                [] => {}
                [Stmt::IfCond(next)] => {
                    self.open("elif", next.span().start_line);
                    condition = next;
                    continue;
                }
                other => {
                    self.put("{% else %}");
                    self.body(other)?;
                }
            }
            self.put("{% endif %}");
            return Ok(());
        }
        self.refuse(format!("more than {MAX_CHAIN} branches of one `if`"))
    }

    fn for_loop(&mut self, each: &ForLoop<'_>, line: u16) -> Result {
        self.open("for", line);
        self.target(&each.target)?;
        self.put(" in ");
        self.value_for(&each.target, &each.iter)?;
        if let Some(filter) = &each.filter_expr {
            self.put(" if ");
            self.expression(filter)?;
        }
        self.put(if each.recursive { " recursive %}" } else { " %}" });
        self.body(&each.body)?;
        if !each.else_body.is_empty() {
            self.put("{% else %}");
            self.body(&each.else_body)?;
        }
        self.put("{% endfor %}");
        Ok(())
    }

    fn assignment(&mut self, target: &Expr<'_>, value: &Expr<'_>) -> Result {
        self.target(target)?;
        self.put(" = ");
        self.value_for(target, value)
    }

    /// What is assigned or looped over; unpacking reads all of it at once.
    fn value_for(&mut self, target: &Expr<'_>, value: &Expr<'_>) -> Result {
        match target {
            Expr::Var(_) => self.expression(value),
            _ => self.guarded(READ, value),
        }
    }

    fn target(&mut self, target: &Expr<'_>) -> Result {
        let items = match target {
            Expr::Var(var) => return self.name(var.id),
            Expr::List(list) => &list.items,
            Expr::Tuple(tuple) => &tuple.items,
            _ => return self.refuse("an assignment to anything but a name"),
        };
        self.put("(");
        for item in items {
            self.target(item)?;
            self.put(", ");
        }
        self.put(")");
        Ok(())
    }

    /// The filters of a block, the innermost of which has nothing before it.
    fn filters(&mut self, expression: &Expr<'_>) -> Result {
        let Expr::Filter(filter) = expression else { return self.refuse("a block without a filter") };
        if let Some(inner) = &filter.expr {
            self.filters(inner)?;
            self.put(" | ");
        }
        self.name(filter.name)?;
        self.arguments(&filter.args, None)
    }

    fn guarded(&mut self, guard: &str, expression: &Expr<'_>) -> Result {
        // What is small by its nature needs none.
        if let Expr::Const(constant) = expression
            && constant.value.as_str().is_none_or(|text| self.marked.filled(text).len() as u64 <= MAX_KEY)
            && constant.value.as_object().is_none()
        {
            return self.expression(expression);
        }
        self.put(guard);
        self.put("(");
        self.expression(expression)?;
        self.put(")");
        Ok(())
    }

    fn binary(&mut self, guard: &str, left: &Expr<'_>, operator: &str, right: &Expr<'_>) -> Result {
        self.put("(");
        self.guarded(guard, left)?;
        let _ = write!(self.text, " {operator} ");
        self.guarded(guard, right)?;
        self.put(")");
        Ok(())
    }

    /// A chain of one operator, which groups from the left, without parentheses within.
    fn plain(&mut self, chain: &Expr<'_>, operator: &str) -> Result {
        self.put("(");
        for (index, operand) in self.operands(chain)?.into_iter().enumerate() {
            if index > 0 {
                let _ = write!(self.text, " {operator} ");
            }
            self.expression(operand)?;
        }
        self.put(")");
        Ok(())
    }

    /// A chain of `~`. Each copies what is left of it, so an operand is charged as often as it is copied.
    fn concatenation(&mut self, chain: &Expr<'_>) -> Result {
        let operands = self.operands(chain)?;
        if let [left, right] = operands.as_slice() {
            return self.binary(JOIN, left, "~", right);
        }
        let count = operands.len();
        self.put("(");
        for (index, operand) in operands.into_iter().enumerate() {
            let _ = write!(self.text, "{}{JOIN}(", if index > 0 { " ~ " } else { "" });
            self.expression(operand)?;
            let _ = write!(self.text, ", {})", count - index.max(1));
        }
        self.put(")");
        Ok(())
    }

    /// The operands of an operator, and of the same one to its left.
    fn operands<'e, 's>(&self, expression: &'e Expr<'s>) -> Result<Vec<&'e Expr<'s>>> {
        let mut operands = Vec::new();
        let mut rest = expression;
        if let Expr::BinOp(whole) = expression {
            while let Expr::BinOp(binary) = rest
                && discriminant(&binary.op) == discriminant(&whole.op)
            {
                operands.push(&binary.right);
                rest = &binary.left;
            }
        }
        operands.push(rest);
        operands.reverse();
        if operands.len() > MAX_CHAIN {
            return self.refuse(format!("more than {MAX_CHAIN} operands in a row"));
        }
        Ok(operands)
    }

    fn expression(&mut self, expression: &Expr<'_>) -> Result {
        if self.depth >= MAX_CHAIN {
            return self.refuse(format!("more than {MAX_CHAIN} names, filters or operators in a row"));
        }
        self.depth += 1;
        let printed = self.any_expression(expression);
        self.depth -= 1;
        printed
    }

    fn any_expression(&mut self, expression: &Expr<'_>) -> Result {
        self.go_to(expression.span().start_line);
        match expression {
            Expr::Var(var) => match self.marked.value(var.id) {
                Some(value) => {
                    self.put_quoted(value);
                    Ok(())
                }
                None => self.name(var.id),
            },
            Expr::Const(constant) => self.constant(&constant.value),
            Expr::Slice(slice) => {
                self.put(LIST);
                self.put("(");
                self.guarded(PART, &slice.expr)?;
                self.put("[");
                for (index, bound) in [&slice.start, &slice.stop, &slice.step].into_iter().enumerate() {
                    self.put(if index > 0 { ":" } else { "" });
                    if let Some(bound) = bound {
                        self.expression(bound)?;
                    }
                }
                self.put("])");
                Ok(())
            }
            Expr::UnaryOp(unary) => {
                self.put(match unary.op {
                    UnaryOpKind::Not => "(not ",
                    UnaryOpKind::Neg => "(-",
                });
                self.expression(&unary.expr)?;
                self.put(")");
                Ok(())
            }
            Expr::BinOp(binary) => {
                let (left, right) = (&binary.left, &binary.right);
                match binary.op {
                    BinOpKind::Eq => self.binary(READ, left, "==", right),
                    BinOpKind::Ne => self.binary(READ, left, "!=", right),
                    BinOpKind::Lt => self.binary(READ, left, "<", right),
                    BinOpKind::Lte => self.binary(READ, left, "<=", right),
                    BinOpKind::Gt => self.binary(READ, left, ">", right),
                    BinOpKind::Gte => self.binary(READ, left, ">=", right),
                    BinOpKind::In => self.binary(READ, left, "in", right),
                    BinOpKind::Concat => self.concatenation(expression),
                    BinOpKind::Add => {
                        self.put(LIST);
                        self.binary(JOIN, left, "+", right)
                    }
                    BinOpKind::Mul => {
                        let _ = write!(self.text, "{TIMES}(");
                        self.expression(left)?;
                        self.put(", ");
                        self.expression(right)?;
                        self.put(")");
                        Ok(())
                    }
                    BinOpKind::ScAnd => self.plain(expression, "and"),
                    BinOpKind::ScOr => self.plain(expression, "or"),
                    BinOpKind::Sub => self.plain(expression, "-"),
                    BinOpKind::Div => self.plain(expression, "/"),
                    BinOpKind::FloorDiv => self.plain(expression, "//"),
                    BinOpKind::Rem => self.plain(expression, "%"),
                    BinOpKind::Pow => self.plain(expression, "**"),
                }
            }
            Expr::Compare(compare) => {
                self.put("(");
                self.guarded(READ, &compare.expr)?;
                for operand in &compare.ops {
                    self.put(match operand.op {
                        CompareOpKind::Eq => " == ",
                        CompareOpKind::Ne => " != ",
                        CompareOpKind::Lt => " < ",
                        CompareOpKind::Lte => " <= ",
                        CompareOpKind::Gt => " > ",
                        CompareOpKind::Gte => " >= ",
                        CompareOpKind::In => " in ",
                        CompareOpKind::NotIn => " not in ",
                    });
                    self.guarded(READ, &operand.expr)?;
                }
                self.put(")");
                Ok(())
            }
            Expr::IfExpr(choice) => {
                self.put("(");
                self.expression(&choice.true_expr)?;
                self.put(" if ");
                self.expression(&choice.test_expr)?;
                if let Some(other) = &choice.false_expr {
                    self.put(" else ");
                    self.expression(other)?;
                }
                self.put(")");
                Ok(())
            }
            Expr::Filter(filter) => {
                let Some(inner) = &filter.expr else { return self.refuse("a filter of nothing") };
                self.put("(");
                self.filtered(inner)?;
                self.put(" | ");
                self.name(filter.name)?;
                self.arguments(&filter.args, None)?;
                self.put(")");
                Ok(())
            }
            Expr::Test(test) => {
                self.put("(");
                self.expression(&test.expr)?;
                self.put(" is ");
                self.name(test.name)?;
                self.arguments(&test.args, None)?;
                self.put(")");
                Ok(())
            }
            Expr::GetAttr(attribute) => {
                // What is printed as a name, a call or one of them with something behind it needs no parentheses.
                if matches!(attribute.expr, Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) | Expr::Slice(_)) {
                    self.expression(&attribute.expr)?;
                } else {
                    self.put("(");
                    self.expression(&attribute.expr)?;
                    self.put(")");
                }
                self.put(".");
                self.attribute(attribute.name)
            }
            Expr::GetItem(item) => {
                self.guarded(ITEM, &item.expr)?;
                self.put("[");
                self.guarded(READ, &item.subscript_expr)?;
                self.put("]");
                Ok(())
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.items("[", &list.items, "]"),
            Expr::Tuple(tuple) if tuple.items.len() == 1 => self.items("(", &tuple.items, ",)"),
            Expr::Tuple(tuple) => self.items("(", &tuple.items, ")"),
            Expr::Map(map) => {
                self.put("{");
                for (key, value) in map.keys.iter().zip(&map.values) {
                    self.guarded(READ, key)?;
                    self.put(": ");
                    self.expression(value)?;
                    self.put(", ");
                }
                self.put("}");
                Ok(())
            }
        }
    }

    /// What a filter is given: filter after filter needs no parentheses.
    fn filtered(&mut self, expression: &Expr<'_>) -> Result {
        let mut filters = Vec::new();
        let mut rest = expression;
        while let Expr::Filter(filter) = rest
            && let Some(inner) = &filter.expr
        {
            filters.push(filter);
            rest = inner;
        }
        if filters.len() >= MAX_CHAIN {
            return self.refuse(format!("more than {MAX_CHAIN} filters in a row"));
        }
        self.expression(rest)?;
        for filter in filters.into_iter().rev() {
            self.put(" | ");
            self.name(filter.name)?;
            self.arguments(&filter.args, None)?;
        }
        Ok(())
    }

    fn items(&mut self, open: &str, items: &[Expr<'_>], close: &str) -> Result {
        self.put(open);
        for (index, item) in items.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            self.expression(item)?;
        }
        self.put(close);
        Ok(())
    }

    fn call(&mut self, call: &Call<'_>) -> Result {
        match call.identify_call() {
            CallType::Function(name) => self.name(name)?,
            CallType::Method(Expr::Var(var), method @ ("cycle" | "changed"))
                if var.id == "loop" && !call.args.is_empty() =>
            {
                let _ = write!(self.text, "loop.{method}");
            }
            CallType::Method(_, method) => {
                return self
                    .refuse(format!("the method `{}` (use a filter)", method.chars().take(64).collect::<String>()));
            }
            CallType::Object(_) => return self.refuse("a call of anything but a function"),
        }
        if call.args.is_empty() {
            self.put("()");
        }
        self.arguments(&call.args, Some(READ))
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>], guard: Option<&str>) -> Result {
        if arguments.is_empty() {
            return Ok(());
        }
        self.put("(");
        for (index, argument) in arguments.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            let value = match argument {
                CallArg::Pos(value) => value,
                CallArg::Kwarg(name, value) => {
                    self.attribute(name)?;
                    self.put("=");
                    value
                }
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    return self.refuse("arguments with `*` (write them one by one)");
                }
            };
            match guard {
                Some(guard) => self.guarded(guard, value)?,
                None => self.expression(value)?,
            }
        }
        self.put(")");
        Ok(())
    }

    fn constant(&mut self, value: &Dynamic) -> Result {
        match value.kind() {
            ValueKind::None => self.put("none"),
            ValueKind::Bool => self.put(if value.is_true() { "true" } else { "false" }),
            ValueKind::String => self.quoted(value.as_str().unwrap_or_default()),
            ValueKind::Number => {
                let text = value.to_string();
                if !text.starts_with(|c: char| c.is_ascii_digit()) {
                    return self.refuse("a number beyond the range of f64");
                }
                self.put(&text);
            }
            _ => return self.refuse("this constant"),
        }
        Ok(())
    }

    /// A text of the file, with the values of its variables.
    fn quoted(&mut self, text: &str) {
        self.put_quoted(&self.marked.filled(text));
    }

    /// A text as the engine reads one: with the escapes of JSON.
    fn put_quoted(&mut self, text: &str) {
        self.put(&serde_json::Value::from(text).to_string());
    }
}
