//! Prints the statements of a template.

use minijinja::machinery::ast::{Expr, ForLoop, IfCond, Stmt, WithBlock};

use super::{
    expressions::MAX_CHAIN,
    names::READ,
    printer::{Printer, Result},
};

impl Printer<'_> {
    fn body(&mut self, statements: &[Stmt<'_>]) -> Result {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    pub(super) fn statement(&mut self, statement: &Stmt<'_>) -> Result {
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
                self.with(with)?;
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

    fn with(&mut self, with: &WithBlock<'_>) -> Result {
        for (index, (target, value)) in with.assignments.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            self.assignment(target, value)?;
        }
        self.put(" %}");
        self.body(&with.body)?;
        self.put("{% endwith %}");
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
}
