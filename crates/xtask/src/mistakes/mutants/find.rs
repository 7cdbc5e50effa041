//! Where the sources can be made wrong, and how each mutant is written in so that it is only there when it is chosen.
//!
//! Mutants lie within each other. So they are put around what is there, which is never written twice.

use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, BinOp, Block, Expr, ReturnType, Stmt, Type};

use super::Mutant;

/// A piece of a mutant: what it puts in the place of a range, which is empty unless the mutant takes out an operator.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    pub(super) text: String,
    /// Whether it closes what another piece opened.
    pub(super) closes: bool,
}

/// All mutants of a file.
pub(super) fn find(file: &str, text: &str) -> Result<Vec<Mutant>, String> {
    let parsed = syn::parse_file(text).map_err(|error| format!("{file}: {error}"))?;
    let mut finder = Finder { file, text, function: Vec::new(), found: Vec::new() };
    finder.visit_file(&parsed);
    Ok(finder.found)
}

/// The files below a module's file that are only there for tests, by the names of their modules.
pub(super) fn test_modules(text: &str) -> Result<Vec<String>, syn::Error> {
    let parsed = syn::parse_file(text)?;
    let modules = parsed.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
            Some(module.ident.to_string())
        }
        _ => None,
    });
    Ok(modules.collect())
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let list = || attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        path.is_ident("test")
            || (path.is_ident("cfg")
                && list().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test"))
    })
}

/// `{n}` stands for the mutant's number.
const ON: &str = "::kavka_wire::mistakes::on({n})";

struct Finder<'a> {
    file: &'a str,
    text: &'a str,
    /// The names around: of the type, of functions.
    function: Vec<String>,
    found: Vec<Mutant>,
}

impl Finder<'_> {
    fn add(&mut self, kind: &'static str, site: impl Spanned, pieces: Vec<Piece>) {
        let at = site.span().byte_range();
        let text: Vec<_> = self.text[at.clone()].split_whitespace().collect();
        let mut text = text.join(" ");
        if text.chars().count() > 90 {
            text = text.chars().take(90).collect::<String>() + "…";
        }
        self.found.push(Mutant {
            file: self.file.to_owned(),
            function: self.function.join("::"),
            kind,
            text,
            line: site.span().start().line,
            pieces,
        });
    }

    /// Text before and after something.
    fn around(&mut self, kind: &'static str, site: impl Spanned, before: &str, after: &str) {
        let at = site.span().byte_range();
        let pieces = vec![open(at.start, before), close(at.end, after)];
        self.add(kind, site, pieces);
    }

    fn condition(&mut self, condition: &Expr, can_be_true: bool) {
        if !has_let(condition) {
            if can_be_true {
                self.around("condition is true", condition, &format!("({ON} || ("), "))");
            }
            self.around("condition is false", condition, &format!("(!{ON} && ("), "))");
            return;
        }
        let at = condition.span().byte_range();
        self.add("condition is false", condition, vec![open(at.start, &format!("!{ON} && "))]);
        let mut operands = Vec::new();
        chain(condition, &mut operands);
        for operand in operands.into_iter().filter(|operand| !has_let(operand) && can_be_true) {
            self.around("condition is true", operand, &format!("({ON} || ("), "))");
        }
    }

    fn binary(&mut self, binary: &syn::ExprBinary) {
        let (left, right) = (binary.left.span().byte_range(), binary.right.span().byte_range());
        let operator = left.end..right.start;
        let three = |before: &str, between: &str, after: &str| {
            let between = Piece { range: operator.clone(), text: between.into(), closes: true };
            vec![open(left.start, before), between, close(right.end, after)]
        };
        let compared =
            |name: &str| three(&format!("::kavka_wire::mistakes::{name}({{n}}, &("), "), &(", "))");
        let (kind, pieces) = match binary.op {
            BinOp::Lt(_) => ("`<` is `<=`", compared("lt")),
            BinOp::Le(_) => ("`<=` is `<`", compared("le")),
            BinOp::Gt(_) => ("`>` is `>=`", compared("gt")),
            BinOp::Ge(_) => ("`>=` is `>`", compared("ge")),
            BinOp::Eq(_) => ("`==` is `!=`", compared("eq")),
            BinOp::Ne(_) => ("`!=` is `==`", compared("ne")),
            BinOp::And(_) if !has_let(&binary.left) && !has_let(&binary.right) => {
                let between = format!("; if __l != {ON} {{ ");
                ("`&&` is `||`", three("({ let __l: bool = ", &between, " } else { __l } })"))
            }
            BinOp::Or(_) => {
                let between = format!("; if __l == {ON} {{ ");
                ("`||` is `&&`", three("({ let __l: bool = ", &between, " } else { __l } })"))
            }
            BinOp::Add(_) | BinOp::Sub(_) => {
                let (kind, usual, other) = match binary.op {
                    BinOp::Add(_) => ("`+` is `-`", '+', '-'),
                    _ => ("`-` is `+`", '-', '+'),
                };
                let after = format!(
                    ")) {{ (__l, __r) => if {ON} {{ __l {other} __r }} else {{ __l {usual} __r }} }})"
                );
                (kind, three("(match ((", "), (", &after))
            }
            BinOp::AddAssign(_) | BinOp::SubAssign(_) => {
                let (kind, usual, other) = match binary.op {
                    BinOp::AddAssign(_) => ("`+=` is `-=`", '+', '-'),
                    _ => ("`-=` is `+=`", '-', '+'),
                };
                let place = &self.text[left.clone()];
                let after =
                    format!("; if {ON} {{ {place} {other}= __r }} else {{ {place} {usual}= __r }} }}");
                let before =
                    Piece { range: left.start..right.start, text: "{ let __r = ".into(), closes: false };
                (kind, vec![before, close(right.end, &after)])
            }
            _ => return,
        };
        self.add(kind, binary, pieces);
    }

    fn body(&mut self, signature: &syn::Signature, block: &Block) {
        if block.stmts.is_empty() || signature.asyncness.is_some() {
            return;
        }
        let start = block.brace_token.span.open().byte_range().end;
        let whole = self.text[start..block.brace_token.span.close().byte_range().start].trim();
        for value in defaults(&signature.output) {
            if whole == value.trim_start_matches("return ") || (whole == "Vec::new()") {
                continue;
            }
            let kind = match *value {
                "return" => "does nothing",
                "return true" => "returns true",
                "return false" => "returns false",
                "return None" => "returns None",
                "return Ok(())" => "returns Ok",
                "return 0" => "returns 0",
                _ => "returns a default",
            };
            let piece = open(start, &format!(" if {ON} {{ {value}; }} "));
            self.add(kind, &signature.ident, vec![piece]);
        }
    }

    fn statement(&mut self, statement: &Stmt) {
        let Stmt::Expr(expression, Some(end)) = statement else { return };
        let at = expression.span().byte_range();
        let pieces = |end: usize| vec![open(at.start, &format!("if !{ON} {{ ")), close(end, " }")];
        let whole = end.span().byte_range().end;
        match expression {
            Expr::MethodCall(_) | Expr::Call(_) => self.add("call left out", expression, pieces(whole)),
            Expr::Assign(_) => self.add("assignment left out", expression, pieces(whole)),
            Expr::Binary(binary) if is_assignment(&binary.op) => {
                self.add("assignment left out", expression, pieces(whole));
            }
            Expr::Try(tried) => {
                self.add("call left out", expression, pieces(whole));
                let mark = tried.question_token.span().byte_range();
                let after = format!(") {{ __r => if {ON} {{ let _ = __r; }} else {{ __r?; }} }}");
                let mark = Piece { range: mark, text: after, closes: true };
                self.add("error ignored", expression, vec![open(at.start, "match ("), mark]);
            }
            _ => {}
        }
    }

    fn within(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.function.push(name);
        visit(self);
        self.function.pop();
    }
}

fn open(at: usize, text: &str) -> Piece {
    Piece { range: at..at, text: text.to_owned(), closes: false }
}

fn close(at: usize, text: &str) -> Piece {
    Piece { range: at..at, text: text.to_owned(), closes: true }
}

/// Whether a condition binds names, which nothing can be put around.
fn has_let(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => {
            has_let(&binary.left) || has_let(&binary.right)
        }
        _ => false,
    }
}

fn chain<'a>(condition: &'a Expr, operands: &mut Vec<&'a Expr>) {
    match condition {
        Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) && has_let(condition) => {
            chain(&binary.left, operands);
            chain(&binary.right, operands);
        }
        other => operands.push(other),
    }
}

fn is_assignment(operator: &BinOp) -> bool {
    use BinOp::*;
    matches!(
        operator,
        AddAssign(_) | SubAssign(_) | MulAssign(_) | DivAssign(_) | BitOrAssign(_) | BitAndAssign(_)
    )
}

/// What a function can return instead, where that is simple.
fn defaults(output: &ReturnType) -> &'static [&'static str] {
    let ReturnType::Type(_, output) = output else { return &["return"] };
    let Type::Path(path) = &**output else { return &[] };
    let Some(last) = path.path.segments.last() else { return &[] };
    match &*last.ident.to_string() {
        "bool" => &["return true", "return false"],
        "Option" => &["return None"],
        "Result" => match &last.arguments {
            syn::PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
                Some(syn::GenericArgument::Type(Type::Tuple(unit))) if unit.elems.is_empty() => {
                    &["return Ok(())"]
                }
                _ => &[],
            },
            _ => &[],
        },
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => &["return 0"],
        "Vec" | "String" | "VecDeque" | "BTreeMap" | "BTreeSet" | "LiteMap" | "SortedSet" | "Duration" => {
            &["return Default::default()"]
        }
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            self.within(item.ident.to_string(), |finder| visit::visit_item_mod(finder, item));
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let shown = |name: &str| matches!(name, "Debug" | "Display" | "Error" | "Write");
        let of = item.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
        if is_for_tests(&item.attrs) || of.is_some_and(|name| shown(&name.ident.to_string())) {
            return;
        }
        let name = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        self.within(name.unwrap_or_default(), |finder| visit::visit_item_impl(finder, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_for_tests(&item.attrs) || item.sig.constness.is_some() {
            return;
        }
        self.within(item.sig.ident.to_string(), |finder| {
            finder.body(&item.sig, &item.block);
            visit::visit_block(finder, &item.block);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_for_tests(&item.attrs) || item.sig.constness.is_some() {
            return;
        }
        self.within(item.sig.ident.to_string(), |finder| {
            finder.body(&item.sig, &item.block);
            visit::visit_block(finder, &item.block);
        });
    }

    // What is computed when the crate is built cannot be switched.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        self.statement(statement);
        visit::visit_stmt(self, statement);
    }

    fn visit_expr_if(&mut self, expression: &'ast syn::ExprIf) {
        self.condition(&expression.cond, true);
        visit::visit_expr_if(self, expression);
    }

    // Without its end a loop hangs, which says nothing of the tests.
    fn visit_expr_while(&mut self, expression: &'ast syn::ExprWhile) {
        self.condition(&expression.cond, false);
        visit::visit_expr_while(self, expression);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.condition(guard, true);
        }
        if let Expr::Assign(assignment) = &*arm.body {
            self.around("assignment left out", assignment, &format!("if !{ON} {{ "), " }");
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        self.binary(binary);
        if is_assignment(&binary.op) {
            // The left side is written again.
            self.visit_expr(&binary.right);
        } else {
            visit::visit_expr_binary(self, binary);
        }
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        if let syn::UnOp::Not(not) = &unary.op {
            let at = unary.span().byte_range();
            let before = Piece { range: not.span().byte_range(), text: "((".into(), closes: false };
            self.add("`!` left out", unary, vec![before, close(at.end, &format!(") ^ !{ON})"))]);
        }
        visit::visit_expr_unary(self, unary);
    }
}
