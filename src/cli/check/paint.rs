//! Colours for rendered diagnostics. Whether they reach the terminal is decided where they are printed: not through a pipe, not
//! under `NO_COLOR`.

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const BLUE: &str = "\u{1b}[1;34m";
const PLAIN: &str = "\u{1b}[0m";

/// The same text with colours, a line at a time; without them it is the text again.
pub(in crate::cli) fn painted(text: &str) -> String {
    let mut tone = RED;
    text.split_inclusive('\n').map(|line| painted_line(line, &mut tone)).collect()
}

fn painted_line(line: &str, tone: &mut &'static str) -> String {
    for (word, colour) in [("error[", RED), ("warning[", YELLOW)] {
        if let Some((head, rest)) = line.split_once(": ").filter(|_| line.starts_with(word)) {
            *tone = colour;
            return format!("{colour}{head}{PLAIN}{BOLD}: {}{PLAIN}\n", rest.trim_end());
        }
    }
    let arrow = ["--> ", "::: ", "= "].into_iter().find(|sign| line.trim_start().starts_with(sign));
    if let Some((before, rest)) = arrow.and_then(|sign| line.split_once(sign.trim_end())) {
        let sign = arrow.unwrap_or_default().trim_end();
        return format!("{before}{BLUE}{sign}{PLAIN}{rest}");
    }
    let Some((gutter, excerpt)) = line.split_once('|').filter(|(gutter, _)| is_gutter(gutter)) else {
        return line.to_owned();
    };
    let marks = gutter.trim().is_empty() && !excerpt.trim().is_empty();
    let excerpt = if marks { format!("{tone}{}{PLAIN}\n", excerpt.trim_end()) } else { excerpt.to_owned() };
    format!("{BLUE}{gutter}|{PLAIN}{excerpt}")
}

fn is_gutter(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_add_nothing_to_the_text() {
        let text = "warning[W163]: this exception: expired\n  --> policy.yaml:75:14\n   |\n75 |     a | b\n   |     ^ = here\n   = help: extend it\n\n… and 2 more\n";
        let painted = painted(text);
        assert!(painted.starts_with("\u{1b}[1;33mwarning[W163]\u{1b}[0m"), "{painted}");
        assert!(painted.contains("\u{1b}[1;33m     ^ = here\u{1b}[0m"), "{painted}");
        let mut plain = painted;
        for colour in [BOLD, RED, YELLOW, BLUE, PLAIN] {
            plain = plain.replace(colour, "");
        }
        assert_eq!(plain, text);
    }
}
