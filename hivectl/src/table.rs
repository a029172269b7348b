//! Text in aligned columns.

use std::io::{self, Write};

/// Between two columns.
const GAP: &str = "  ";

/// On which side a column's cells line up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of `N` cells, each column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    alignment: [Align; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table that begins with a row of titles.
    pub(crate) fn with_titles(columns: [(&str, Align); N]) -> Self {
        Self {
            alignment: columns.map(|(_, align)| align),
            rows: vec![columns.map(|(title, _)| title.to_owned())],
        }
    }

    /// A table of rows alone.
    pub(crate) fn without_titles(alignment: [Align; N]) -> Self {
        Self {
            alignment,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// Writes all rows, none with spaces at its end.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let widths = self.widths();
        let mut line = String::new();
        for row in &self.rows {
            line.clear();
            for ((cell, align), width) in row.iter().zip(self.alignment).zip(widths) {
                if !line.is_empty() {
                    line.push_str(GAP);
                }
                let padding = width.saturating_sub(width_of(cell));
                let (before, after) = match align {
                    Align::Left => (0, padding),
                    Align::Right => (padding, 0),
                };
                line.extend(std::iter::repeat_n(' ', before));
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', after));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn widths(&self) -> [usize; N] {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = width_of(cell).max(*width);
            }
        }
        widths
    }
}

/// Columns of a terminal that a text takes; right for all but wide and combining characters.
fn width_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::with_titles([
            ("KEY", Align::Left),
            ("HITS", Align::Right),
            ("NOTE", Align::Left),
        ]);
        table.push(["a".into(), "12345".into(), "x".into()]);
        table.push(["üüüü".into(), "1".into(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "KEY    HITS  NOTE\na     12345  x\nüüüü      1\n"
        );
    }

    #[test]
    fn an_empty_first_cell_keeps_its_column() {
        let mut table = Table::without_titles([Align::Left, Align::Left]);
        table.push([String::new(), "x".into()]);
        table.push(["long".into(), "y".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "      x\nlong  y\n");
    }
}
