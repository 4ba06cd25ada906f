//! The gateway's own count of batches, read from its metrics page.

use std::path::Path;

use anyhow::{Context, Result};

use crate::admin::{Admin, page};

const HISTOGRAM: &str = "weighbridge_batch_rows";

/// Where the gateway's metrics are, read from its data folder.
#[derive(Debug)]
pub struct Metrics {
    admin: Admin,
}

/// Rows and batches since the start of the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batches {
    rows: f64,
    count: f64,
}

impl Metrics {
    /// Reads the admin address and key that the gateway leaves in its data folder.
    pub fn find(data_dir: &Path) -> Result<Self> {
        Ok(Self { admin: Admin::find(data_dir)? })
    }

    /// The histogram as it stands; an error says why it cannot be had.
    pub fn batches(&self) -> Result<Batches> {
        let page = self.admin.metrics()?;
        Batches::parse(&page).with_context(|| format!("no {HISTOGRAM} on the metrics page"))
    }
}

impl Batches {
    /// The histogram as it stands, if it can be had.
    pub fn read(admin: &Admin) -> Option<Self> {
        Self::parse(&admin.metrics().ok()?)
    }

    /// Adds up the histogram over all its labels; `None` when the page does not have it.
    fn parse(page: &str) -> Option<Self> {
        Some(Self { rows: total(page, "_sum")?, count: total(page, "_count")? })
    }

    /// Rows per batch since `before`; `None` when no batch ran.
    pub fn mean_since(self, before: Self) -> Option<f64> {
        let batches = self.count - before.count;
        (batches > 0.0).then(|| (self.rows - before.rows) / batches)
    }
}

fn total(page: &str, suffix: &str) -> Option<f64> {
    page::sum(page, &format!("{HISTOGRAM}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_batch_is_of_the_time_between_two_readings() {
        let page = |rows: u32, count: u32| {
            format!(
                "# TYPE weighbridge_batch_rows histogram\n\
                 weighbridge_batch_rows_bucket{{model=\"a\",le=\"1\"}} 5\n\
                 weighbridge_batch_rows_sum{{model=\"a\"}} {rows}\n\
                 weighbridge_batch_rows_sum{{model=\"}}b\"}} 10\n\
                 weighbridge_batch_rows_count{{model=\"a\"}} {count}\n\
                 weighbridge_batch_rows_counter 99\n"
            )
        };
        let before = Batches::parse(&page(100, 50)).unwrap();
        assert_eq!(before, Batches { rows: 110.0, count: 50.0 });
        let after = Batches::parse(&page(500, 150)).unwrap();
        assert_eq!(after.mean_since(before), Some(4.0));
        assert_eq!(after.mean_since(after), None);
        assert_eq!(Batches::parse("something_else 1\n"), None);
    }
}
