//! The hot path, part by part: nanoseconds here and now, and instructions and allocations that CI holds to.
//!
//!     cargo bench --bench hot              nanoseconds of every part
//!     scripts/hot-path                     compares instructions and allocations with figures.txt
//!     scripts/hot-path --update            writes figures.txt anew

#![expect(clippy::print_stdout, reason = "a program that reports")]

mod allocations;
mod callgrind;
mod figures;
mod inputs;
mod parts;
mod time;
mod whole;

use std::io;
use std::process::ExitCode;

use figures::Figure;
use plimsoll::allocator::Mimalloc;

#[global_allocator]
static ALLOCATOR: allocations::Counting<Mimalloc> = allocations::Counting(Mimalloc);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => {
            time::report("");
            Ok(())
        }
        ["--check"] => check(),
        ["--update"] => update(),
        ["--subject", name] => subject(name),
        ["--calls", name, calls] => run_calls(name, calls),
        [filter] if !filter.starts_with('-') => {
            time::report(filter);
            Ok(())
        }
        _ => Err(io::Error::other("usage: [FILTER | --check | --update]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn part(name: &str) -> io::Result<Box<dyn FnMut()>> {
    let part = parts::PARTS.iter().find(|part| part.name == name);
    Ok((part.ok_or_else(|| io::Error::other(format!("no part `{name}`")))?.prepare)())
}

fn subject(name: &str) -> io::Result<()> {
    callgrind::subject(&mut *part(name)?);
    Ok(())
}

fn run_calls(name: &str, calls: &str) -> io::Result<()> {
    let call = whole::CALLS.iter().find(|call| call.name == name);
    let call = call.ok_or_else(|| io::Error::other(format!("no call `{name}`")))?;
    whole::run(call, calls.parse().map_err(io::Error::other)?)
}

/// Measures everything. Without valgrind the instructions are left out.
fn measure(instructions: bool) -> io::Result<Vec<Figure>> {
    let mut measured = Vec::new();
    for part in parts::PARTS {
        let mut call = (part.prepare)();
        (0..3).for_each(|_| call());
        let allocations = allocations::of(&mut *call);
        let instructions = if instructions { Some(callgrind::of_part(part.name)?) } else { None };
        measured.push(tell(Figure { name: part.name.to_owned(), instructions, allocations }));
    }
    for call in whole::CALLS {
        let allocations = whole::allocations(call)?;
        let instructions = if instructions { Some(callgrind::of_call(call.name)?) } else { None };
        measured.push(tell(Figure { name: call.name.to_owned(), instructions, allocations }));
    }
    Ok(measured)
}

fn tell(figure: Figure) -> Figure {
    println!("{figure}");
    figure
}

fn check() -> io::Result<()> {
    let missing = callgrind::missing();
    if let Some(why) = missing {
        println!("instructions are NOT counted: {why}");
    }
    let measured = measure(missing.is_none())?;
    let known = figures::read()?;
    if let Some(caveat) = known.caveat() {
        println!("{caveat}");
    }
    let differences = measured.iter().filter_map(|figure| figures::difference(&known, figure));
    let differences: Vec<String> = differences.chain(known.stale(&measured)).collect();
    if differences.is_empty() {
        println!("every figure is as {} says", figures::FILE);
        return Ok(());
    }
    Err(io::Error::other(format!(
        "\nthe hot path costs something else than {} says:\n  {}\nif that is meant, run `scripts/hot-path --update` and say why in the commit",
        figures::FILE,
        differences.join("\n  ")
    )))
}

fn update() -> io::Result<()> {
    if let Some(why) = callgrind::missing() {
        return Err(io::Error::other(format!("the figures cannot be measured here: {why}")));
    }
    figures::write(&measure(true)?)
}
