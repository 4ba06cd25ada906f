//! How far a command is: drawn on a terminal, said in lines elsewhere, always on the standard
//! error.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::show;

/// A bar of bytes; hidden where there is no terminal.
pub fn bytes(total: u64) -> ProgressBar {
    const TEMPLATE: &str = "{msg:9} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(TEMPLATE);
    let bar = ProgressBar::new(total);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

/// What the server does meanwhile.
#[derive(Debug)]
pub struct Steps {
    bar: ProgressBar,
}

impl Steps {
    pub fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self { bar }
    }

    /// The server says what it does now.
    pub fn tell(&self, progress: &str) {
        // One line, and nothing that steers the terminal.
        let line: String =
            show::shortened(progress, 200).chars().filter(|c| !c.is_control()).collect();
        match self.bar.is_hidden() {
            true if line.is_empty() => {}
            true => show::note(&line),
            false => self.bar.set_message(line),
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
