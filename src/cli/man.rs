//! `tunless man`: the manual pages, made from the same definition as `--help`.

use std::{fs, path::Path};

use anyhow::{Context as _, anyhow};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man as Page;
use serde_json::json;

use super::{
    args::{Cli, Man},
    output::Output,
};
use crate::cli::exit::Failure;

/// Writes all pages into a folder, or prints the main page.
pub(super) fn run(args: &Man, output: Output) -> Result<(), Failure> {
    let Some(folder) = &args.folder else {
        let (_, page) = pages()?.into_iter().next().context("there is no page")?;
        if output.is_json() {
            output.say("page", "", json!({ "page": page }));
        } else {
            output.print(page.trim_end());
        }
        return Ok(());
    };
    if !folder.is_dir() {
        return Err(anyhow!("{} is no folder; make it first", folder.display()).into());
    }
    for (name, page) in pages()? {
        write(folder, &name, &page, output)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, page: &str, output: Output) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    let file = path.display().to_string();
    output.say("page", &format!("wrote {file}"), json!({ "file": file }));
    Ok(())
}

/// Every page with its file's name, the main one first.
fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let mut pages = Vec::new();
    add(&cli, "tunless", &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, name: &str, pages: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    // The pages' own names, `tunless-ctl-close`, are what they refer to each other by.
    let page = Page::new(command.clone()).title(name.to_uppercase());
    let mut text = Vec::new();
    page.render(&mut text).context("cannot form the page")?;
    text.extend(environment(command).bytes());
    pages.push((format!("{name}.1"), String::from_utf8(text)?));
    for inner in command.get_subcommands() {
        add(inner, &format!("{name}-{}", inner.get_name()), pages)?;
    }
    Ok(())
}

/// The variables, which the generator leaves out of sections with a heading of their own.
fn environment(command: &Command) -> String {
    let flags = command
        .get_arguments()
        .filter_map(|arg| arg.get_long().zip(arg.get_env()));
    let entries = flags.map(|(flag, variable)| {
        let (flag, variable) = (flag.replace('-', "\\-"), variable.to_string_lossy());
        format!(".TP\n\\fB{variable}\\fR\nThe same as \\fB\\-\\-{flag}\\fR\n")
    });
    let section: String = entries.collect();
    if section.is_empty() {
        return section;
    }
    format!(".SH ENVIRONMENT\n{section}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_its_flags() {
        let pages = pages().unwrap();
        let page = |name: &str| {
            let found = pages.iter().find(|(file, _)| file == name);
            found.unwrap_or_else(|| panic!("no {name}")).1.as_str()
        };
        assert_eq!(pages[0].0, "tunless.1");
        assert!(
            page("tunless.1").contains(".TH TUNLESS 1"),
            "{}",
            page("tunless.1")
        );
        assert!(page("tunless-connect.1").contains("TUNLESS_PROXY_AUTH"));
        assert!(page("tunless-ctl.1").contains("log\\-level"));
        assert!(page("tunless-ctl-answer.1").contains("stdin"));
        assert!(!pages.iter().any(|(name, _)| name.contains("help")));
    }
}
