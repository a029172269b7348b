//! Plain text tables: a header, a rule, aligned columns.

use std::fmt;

/// How a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table that is written with `Display`, one line a row.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns
            .iter()
            .map(|&(name, align)| (name.to_owned(), align))
            .collect();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row. Cells that are missing stay empty; cells beyond the columns are not shown.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl fmt::Display>) {
        self.rows
            .push(cells.into_iter().map(|cell| cell.to_string()).collect());
    }

    fn write_line<'a>(
        &self,
        f: &mut fmt::Formatter<'_>,
        widths: &[usize],
        cell: impl Fn(usize) -> Option<&'a String>,
    ) -> fmt::Result {
        let mut line = String::new();
        for (at, ((_, align), width)) in self.columns.iter().zip(widths).enumerate() {
            let gap = if at == 0 { "" } else { "  " };
            let text = cell(at).map_or("", String::as_str);
            match align {
                Align::Left => line += &format!("{gap}{text:<width$}"),
                Align::Right => line += &format!("{gap}{text:>width$}"),
            }
        }
        writeln!(f, "{}", line.trim_end())
    }

    fn width(&self, column: usize, name: &str) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(name.chars().count())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (name, _))| self.width(at, name))
            .collect();
        self.write_line(f, &widths, |at| self.columns.get(at).map(|(name, _)| name))?;
        let length = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        writeln!(f, "{}", "-".repeat(length))?;
        for row in &self.rows {
            self.write_line(f, &widths, |at| row.get(at))?;
        }
        Ok(())
    }
}

/// A number with its thousands set apart, 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("path", Align::Left), ("sent", Align::Right)]);
        table.row(["module", "10"]);
        table.row(["service", "1,000"]);
        assert_eq!(
            table.to_string(),
            "path      sent\n--------------\nmodule      10\nservice  1,000\n"
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
