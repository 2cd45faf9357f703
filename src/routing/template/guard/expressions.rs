//! Prints the expressions of a template, with a guard around every operand that can be large.

use std::{fmt::Write, mem::discriminant};

use minijinja::machinery::ast::{
    BinOp, BinOpKind, Call, CallArg, CallType, Compare, CompareOpKind, Expr, Filter, GetAttr, IfExpr, Map, Slice, Test,
    UnaryOpKind,
};

use super::{
    names::{ITEM, JOIN, LIST, PART, READ, TIMES},
    printer::{Printer, Result},
};

/// The longest constant key that is looked up without a guard.
const MAX_KEY: u64 = 256;

/// The most expressions within one another, or branches of an `if`, where the engine has no limit of its
/// own: it goes through them with a call for each.
pub(super) const MAX_CHAIN: usize = 400;

impl Printer<'_> {
    pub(super) fn guarded(&mut self, guard: &str, expression: &Expr<'_>) -> Result {
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

    pub(super) fn expression(&mut self, expression: &Expr<'_>) -> Result {
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
            Expr::Slice(slice) => self.slice(slice),
            Expr::UnaryOp(unary) => {
                self.put(match unary.op {
                    UnaryOpKind::Not => "(not ",
                    UnaryOpKind::Neg => "(-",
                });
                self.expression(&unary.expr)?;
                self.put(")");
                Ok(())
            }
            Expr::BinOp(binary) => self.binary_operator(expression, binary),
            Expr::Compare(compare) => self.compare(compare),
            Expr::IfExpr(choice) => self.choice(choice),
            Expr::Filter(filter) => self.filter(filter),
            Expr::Test(test) => self.test(test),
            Expr::GetAttr(attribute) => self.get_attribute(attribute),
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
            Expr::Map(map) => self.map(map),
        }
    }

    fn slice(&mut self, slice: &Slice<'_>) -> Result {
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

    fn binary_operator(&mut self, expression: &Expr<'_>, binary: &BinOp<'_>) -> Result {
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

    fn compare(&mut self, compare: &Compare<'_>) -> Result {
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

    fn choice(&mut self, choice: &IfExpr<'_>) -> Result {
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

    fn filter(&mut self, filter: &Filter<'_>) -> Result {
        let Some(inner) = &filter.expr else { return self.refuse("a filter of nothing") };
        self.put("(");
        self.filtered(inner)?;
        self.put(" | ");
        self.name(filter.name)?;
        self.arguments(&filter.args, None)?;
        self.put(")");
        Ok(())
    }

    fn test(&mut self, test: &Test<'_>) -> Result {
        self.put("(");
        self.expression(&test.expr)?;
        self.put(" is ");
        self.name(test.name)?;
        self.arguments(&test.args, None)?;
        self.put(")");
        Ok(())
    }

    fn get_attribute(&mut self, attribute: &GetAttr<'_>) -> Result {
        // A name, an index and a slice bind at least as tightly as an attribute: they need no parentheses.
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

    fn map(&mut self, map: &Map<'_>) -> Result {
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

    pub(super) fn call(&mut self, call: &Call<'_>) -> Result {
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

    pub(super) fn arguments(&mut self, arguments: &[CallArg<'_>], guard: Option<&str>) -> Result {
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
}
