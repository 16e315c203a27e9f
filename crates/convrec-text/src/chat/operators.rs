//! Operators that the engine reads otherwise than `jinja2`, or does not bound. `%` with a text on
//! its left formats it. Lists that are added up have a bounded length.
//!
//! The engine has no hook for operators, so its own parser says where they stand, and the source
//! calls functions there: `a % b` is `__percent(a, b)`, and `a + b` is `__bounded(a + b)`.

use std::collections::BTreeMap;

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::{Span, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::methods::BYTES_A_STEP;

/// The names of the functions.
pub(super) const BOUNDED: &str = "__bounded";
pub(super) const PERCENT: &str = "__percent";

/// The source with calls in place of the operators. A source that is no template stays as it is:
/// the engine says what is wrong with it.
pub(super) fn rewrite(source: &str, syntax: &SyntaxConfig) -> String {
    let mut found = Found {
        source,
        edits: BTreeMap::new(),
    };
    if let Ok(tree) = parse(source, "chat", syntax.clone()) {
        found.statement(&tree);
    }
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    for (place, edit) in found.edits {
        // The parser counts in bytes of this source.
        let Some(text) = source.get(at..place) else {
            return source.into();
        };
        out.push_str(text);
        out.push_str(&")".repeat(edit.closing));
        edit.opening.iter().for_each(|name| {
            out.push_str(name);
            out.push('(');
        });
        at = place;
        if edit.is_operator {
            out.push(',');
            at += 1;
        }
    }
    out + source.get(at..).unwrap_or_default()
}

/// What is written at a place.
#[derive(Default)]
struct Edit {
    closing: usize,
    /// Names of functions, the outermost first.
    opening: Vec<&'static str>,
    /// Whether the `%` at the place becomes a comma.
    is_operator: bool,
}

struct Found<'a> {
    source: &'a str,
    edits: BTreeMap<usize, Edit>,
}

impl Found<'_> {
    fn call(&mut self, name: &'static str, span: Span) {
        let [start, end] = [span.start_offset, span.end_offset].map(|at| at as usize);
        // Outer expressions come first.
        self.edits.entry(start).or_default().opening.push(name);
        self.edits.entry(end).or_default().closing += 1;
    }

    /// The operator behind a left side becomes a comma: nothing but white space and closing
    /// brackets stands between.
    fn comma(&mut self, end_of_left: usize) {
        let behind = self.source.get(end_of_left..).unwrap_or_default();
        if let Some(at) = behind.find('%') {
            self.edits.entry(end_of_left + at).or_default().is_operator = true;
        }
    }

    fn expression(&mut self, expr: &Expr<'_>) {
        match expr {
            Expr::Var(_) | Expr::Const(_) => {}
            Expr::Slice(node) => {
                self.expression(&node.expr);
                let ends = [&node.start, &node.stop, &node.step];
                ends.into_iter()
                    .flatten()
                    .for_each(|end| self.expression(end));
            }
            Expr::UnaryOp(node) => self.expression(&node.expr),
            Expr::BinOp(node) => {
                match node.op {
                    BinOpKind::Add => self.call(BOUNDED, node.span()),
                    BinOpKind::Rem => {
                        self.call(PERCENT, node.span());
                        self.comma(node.left.span().end_offset as usize);
                    }
                    _ => {}
                }
                self.expression(&node.left);
                self.expression(&node.right);
            }
            Expr::Compare(node) => {
                self.expression(&node.expr);
                node.ops.iter().for_each(|op| self.expression(&op.expr));
            }
            Expr::IfExpr(node) => {
                self.expression(&node.true_expr);
                self.expression(&node.test_expr);
                node.false_expr
                    .iter()
                    .for_each(|expr| self.expression(expr));
            }
            Expr::Filter(node) => {
                node.expr.iter().for_each(|expr| self.expression(expr));
                self.arguments(&node.args);
            }
            Expr::Test(node) => {
                self.expression(&node.expr);
                self.arguments(&node.args);
            }
            Expr::GetAttr(node) => self.expression(&node.expr),
            Expr::GetItem(node) => {
                self.expression(&node.expr);
                self.expression(&node.subscript_expr);
            }
            Expr::Call(node) => {
                self.expression(&node.expr);
                self.arguments(&node.args);
            }
            Expr::List(node) => node.items.iter().for_each(|item| self.expression(item)),
            Expr::Tuple(node) => node.items.iter().for_each(|item| self.expression(item)),
            Expr::Map(node) => {
                let both = node.keys.iter().zip(&node.values);
                both.for_each(|(key, value)| {
                    self.expression(key);
                    self.expression(value);
                });
            }
        }
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) {
        for argument in arguments {
            let (CallArg::Pos(expr)
            | CallArg::Kwarg(_, expr)
            | CallArg::PosSplat(expr)
            | CallArg::KwargSplat(expr)) = argument;
            self.expression(expr);
        }
    }

    fn statements(&mut self, body: &[Stmt<'_>]) {
        body.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(node) => self.statements(&node.children),
            Stmt::EmitExpr(node) => self.expression(&node.expr),
            Stmt::ForLoop(node) => {
                self.expression(&node.iter);
                node.filter_expr
                    .iter()
                    .for_each(|expr| self.expression(expr));
                self.statements(&node.body);
                self.statements(&node.else_body);
            }
            Stmt::IfCond(node) => {
                self.expression(&node.expr);
                self.statements(&node.true_body);
                self.statements(&node.false_body);
            }
            Stmt::WithBlock(node) => {
                let values = node.assignments.iter().map(|(_, value)| value);
                values.for_each(|value| self.expression(value));
                self.statements(&node.body);
            }
            Stmt::Set(node) => self.expression(&node.expr),
            Stmt::SetBlock(node) => {
                node.filter.iter().for_each(|expr| self.expression(expr));
                self.statements(&node.body);
            }
            Stmt::AutoEscape(node) => self.statements(&node.body),
            Stmt::FilterBlock(node) => {
                self.expression(&node.filter);
                self.statements(&node.body);
            }
            Stmt::Block(node) => self.statements(&node.body),
            Stmt::Macro(node) => {
                node.defaults.iter().for_each(|expr| self.expression(expr));
                self.statements(&node.body);
            }
            Stmt::CallBlock(node) => {
                self.expression(&node.call.expr);
                self.arguments(&node.call.args);
                self.statements(&node.macro_decl.body);
            }
            Stmt::Do(node) => {
                self.expression(&node.call.expr);
                self.arguments(&node.call.args);
            }
            // Text, and what only other templates could make something of.
            _ => {}
        }
    }
}

/// The value, where it is no list or one that the fuel pays for.
pub(super) fn bounded(state: &State, value: Value) -> Result<Value, Error> {
    const SLOT: u64 = 32;
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        let items = value.len().ok_or_else(|| {
            let problem = "+: expected lists, found something without a length";
            Error::new(ErrorKind::InvalidOperation, problem)
        })?;
        state.consume_fuel((items as u64).saturating_mul(SLOT) / BYTES_A_STEP)?;
    }
    Ok(value)
}

/// `left % right`: a text is formatted as in Python, numbers have a remainder.
pub(super) fn remainder(state: &mut State, left: Value, right: Value) -> Result<Value, Error> {
    if left.as_str().is_some() {
        return format(state, left, right);
    }
    let failed = |problem: &str| Error::new(ErrorKind::InvalidOperation, format!("%: {problem}"));
    let is_integer = |value: &Value| value.is_integer() || value.kind() == ValueKind::Bool;
    if is_integer(&left) && is_integer(&right) {
        let integer = |value: &Value| match value.kind() {
            ValueKind::Bool => Ok(i128::from(value.is_true())),
            _ => i128::try_from(value.clone()),
        };
        let (a, b) = (integer(&left)?, integer(&right)?);
        let rest = a.checked_rem(b).ok_or_else(|| failed("division by zero"))?;
        // Python's remainder has the sign of the divisor.
        let rest = if rest != 0 && (rest < 0) != (b < 0) {
            rest + b
        } else {
            rest
        };
        return Ok(i64::try_from(rest).map_or_else(|_| Value::from(rest), Value::from));
    }
    match (f64::try_from(left.clone()), f64::try_from(right.clone())) {
        (Ok(_), Ok(0.0)) => Err(failed("division by zero")),
        (Ok(a), Ok(b)) => {
            let rest = a % b;
            Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
                rest + b
            } else {
                rest
            }))
        }
        _ => Err(failed(&format!(
            "expected a text to format or two numbers, found {} and {}",
            left.kind(),
            right.kind()
        ))),
    }
}

/// `format % values`: a tuple holds several values, a mapping named ones, all else is one.
fn format(state: &mut State, format: Value, values: Value) -> Result<Value, Error> {
    let mut arguments = vec![format];
    if values.downcast_object_ref::<Tuple>().is_some() {
        arguments.extend(values.try_iter()?);
    } else if values.kind() == ValueKind::Map {
        let mut named = vec![];
        for key in values.try_iter()? {
            let value = values.get_item(&key)?;
            named.push((key.to_string(), value));
        }
        arguments.push(Value::from(named.into_iter().collect::<Kwargs>()));
    } else {
        arguments.push(values);
    }
    state.apply_filter("format", &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_become_calls_and_all_else_stays() {
        let rewritten = |source: &str| rewrite(source, &SyntaxConfig::default());
        for same in [
            "a % b + c",
            "{{ 'a % b' }}{# 1 + 2 #}{% raw %}{{ 1 + 2 }}{% endraw %}",
            "{{ a - b * c ~ d }}",
            "{{ 1 + }}",
            "{% if %}",
        ] {
            assert_eq!(rewritten(same), same);
        }
        for (source, calls) in [
            ("{{ a + b }}", "{{ __bounded(a + b) }}"),
            ("{{ a + b + c }}", "{{ __bounded(__bounded(a + b) + c) }}"),
            (
                "{{ (a) + (b + c) }}",
                "{{ __bounded((a) + (__bounded(b + c))) }}",
            ),
            (
                "{{ 'é' % (a, 'x%y') }}",
                "{{ __percent('é' , (a, 'x%y')) }}",
            ),
            (
                "{{ (a % b) % c }}",
                "{{ __percent((__percent(a , b)) , c) }}",
            ),
            (
                "{% set ns.x = ns.x + x[1 + 2:]|f(3 + 4) %}",
                "{% set ns.x = __bounded(ns.x + x[__bounded(1 + 2):]|f(__bounded(3 + 4))) %}",
            ),
            (
                "{%- for m in a + b if m % 2 -%}{{ m }}{% endfor %}",
                "{%- for m in __bounded(a + b) if __percent(m , 2) -%}{{ m }}{% endfor %}",
            ),
        ] {
            assert_eq!(rewritten(source), calls);
        }
    }
}
