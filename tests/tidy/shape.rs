//! Heads of modules, lengths of files and functions.

use crate::exceptions::except;
use crate::lexer::code;
use crate::report;
use crate::tree::files;

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn every_module_says_what_it_is() {
    let heads = files(&[".rs"]).into_iter().filter(|file| !file.text.starts_with("//!"));
    let findings = heads.map(|file| (file.path, "does not begin with //!".to_owned())).collect();
    report("every module begins with its purpose", &except("head", findings));
}

#[test]
fn files_stay_short() {
    let long = files(&[".rs"]).into_iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| (file.path, format!("{lines} lines")))
    });
    report("a file has at most 600 lines", &except("file length", long.collect()));
}

#[test]
fn functions_stay_short() {
    let mut findings = Vec::new();
    for file in files(&[".rs"]) {
        for (name, line, lines) in functions(&code(&file.text)) {
            if lines > FUNCTION_LINES_MAX {
                findings.push((file.path.clone(), format!("line {line}: fn {name} has {lines} lines")));
            }
        }
    }
    report("a function has at most 70 lines", &except("function length", findings));
}

/// Name, first line and number of lines of every function with a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(body) = body(&code[at..]) {
            let lines = code[at..at + body].lines().count();
            found.push((name, code[..at].matches('\n').count() + 1, lines));
        }
    }
    found
}

/// Length of the function that begins here, up to its closing brace; `None` for one without a body.
fn body(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            ';' if round == 0 && curly == 0 => return None,
            '{' => curly += 1,
            '}' => {
                curly -= 1;
                if curly == 0 && round == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn functions_are_found() {
    let code = "trait T { fn none(&self); }\nfn one() -> [u8; 2] {\n    if a { b }\n}\nimpl X { fn two(f: fn(u8)) {} }\n";
    let found = functions(code);
    assert_eq!(found, [("one".to_owned(), 2, 3), ("two".to_owned(), 5, 1)]);
}
