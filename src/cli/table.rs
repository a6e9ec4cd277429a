//! Tables for people: a line a row where there is room for that, and otherwise as few lines a row as the columns need. No
//! column is left out, and only those are cut that say so.

use super::terminal::{Colour, Terminal, columns, left, right};

const GAP: usize = 2;
/// Before all lines of a row but the first.
const INDENT: usize = 4;

/// What stands in a table's head, and how the cells below it are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    is_number: bool,
    /// To how many columns of the terminal it may be cut.
    least: Option<usize>,
}

impl Column {
    pub(super) const fn text(name: &'static str) -> Self {
        Self { name, is_number: false, least: None }
    }

    /// To the right.
    pub(super) const fn number(name: &'static str) -> Self {
        Self { name, is_number: true, least: None }
    }

    /// Where there is no room for more, so much is shown of a longer cell.
    pub(super) const fn cut_to(self, least: usize) -> Self {
        Self { least: Some(least), ..self }
    }
}

/// Rows under a head.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<([String; N], Option<Colour>)>,
}

/// Which columns stand in a line, and how wide.
type Line = Vec<(usize, usize)>;

impl<const N: usize> Table<N> {
    pub(super) fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// The cells must be without control characters.
    pub(super) fn add(&mut self, cells: [String; N]) {
        self.add_coloured(cells, None);
    }

    pub(super) fn add_coloured(&mut self, cells: [String; N], colour: Option<Colour>) {
        self.rows.push((cells, colour));
    }

    /// The head and all rows, each line with its end.
    pub(super) fn drawn(&self, terminal: Terminal) -> String {
        let lines = self.lines(terminal.width);
        let head = self.columns.map(|column| column.name.to_owned());
        let mut text = self.row(&head, Some(Colour::Bold), &lines, terminal);
        for (cells, colour) in &self.rows {
            text += &self.row(cells, *colour, &lines, terminal);
        }
        text
    }

    fn row(&self, cells: &[String; N], colour: Option<Colour>, lines: &[Line], terminal: Terminal) -> String {
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            let shown: Vec<String> = line
                .iter()
                .map(|&(column, width)| {
                    if self.columns[column].is_number {
                        right(&cells[column], width)
                    } else {
                        left(&cells[column], width)
                    }
                })
                .collect();
            let line = format!("{:1$}{2}", "", indent(number), shown.join(&" ".repeat(GAP)));
            let line = line.trim_end();
            text += &colour.map_or_else(|| line.to_owned(), |colour| terminal.paint(colour, line));
            text.push('\n');
        }
        text
    }

    /// As few lines as fit; among those as little cut as can be, and a first line as short as can be.
    fn lines(&self, room: usize) -> Vec<Line> {
        let wanted: [usize; N] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|(cells, _)| columns(&cells[column]));
            cells.chain([columns(self.columns[column].name)]).max().unwrap_or(0)
        });
        let layouts = (0..1_u32 << (N - 1)).filter_map(|breaks| self.layout(breaks, &wanted, room));
        let cost = |lines: &Vec<Line>| {
            let cut: usize = lines.iter().flatten().map(|(column, width)| wanted[*column].saturating_sub(*width)).sum();
            let starts: usize = lines.iter().map(|line| line[0].0).sum();
            (lines.len(), cut, starts)
        };
        layouts.min_by_key(cost).unwrap_or_default()
    }

    /// The lines with a break after each of these columns, by the bits of the number. None if a line would be wider than
    /// the room that it has, unless it is of one column: that has to stand somewhere.
    fn layout(&self, breaks: u32, wanted: &[usize; N], room: usize) -> Option<Vec<Line>> {
        let mut lines: Vec<Line> = vec![Line::new()];
        for (column, wanted) in wanted.iter().enumerate() {
            let least = self.columns[column].least.map_or(*wanted, |least| least.min(*wanted));
            if column > 0 && breaks & 1 << (column - 1) != 0 {
                lines.push(Line::new());
            }
            lines.last_mut()?.push((column, least));
        }
        for (number, line) in lines.iter_mut().enumerate() {
            let room = room.saturating_sub(indent(number));
            if line.len() > 1 && taken(line) > room {
                return None;
            }
            self.fill(line, wanted, room);
        }
        Some(lines)
    }

    /// Gives the cells that may be cut what is left of the line, each as much as another that could take more; takes it
    /// from one that is wider than the line.
    fn fill(&self, line: &mut Line, wanted: &[usize; N], room: usize) {
        let mut spare = room.saturating_sub(taken(line));
        let mut short: Vec<&mut (usize, usize)> =
            line.iter_mut().filter(|(column, _)| self.columns[*column].least.is_some()).collect();
        short.sort_by_key(|(column, width)| wanted[*column] - width);
        let mut left = short.len();
        for (column, width) in short {
            let more = (wanted[*column] - *width).min(spare / left);
            (*width, spare, left) = ((*width + more).min(room), spare - more, left - 1);
        }
    }
}

fn indent(line: usize) -> usize {
    if line == 0 { 0 } else { INDENT }
}

fn taken(line: &Line) -> usize {
    line.iter().map(|(_, width)| width + GAP).sum::<usize>() - GAP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize) -> Terminal {
        Terminal { width, colours: false }
    }

    fn table() -> Table<4> {
        let mut table = Table::new([
            Column::text("name"),
            Column::number("count"),
            Column::text("state"),
            Column::text("why").cut_to(8),
        ]);
        table.add(["first".into(), "1".into(), "open".into(), "nothing in particular".into()]);
        table.add(["the second one".into(), "1,234".into(), "closed".into(), "日本語日本語".into()]);
        table
    }

    #[test]
    fn a_row_is_a_line_where_there_is_room() {
        let wide = "\
name            count  state   why
first               1  open    nothing in particular
the second one  1,234  closed  日本語日本語
";
        assert_eq!(table().drawn(plain(usize::MAX)), wide);
        assert_eq!(table().drawn(plain(52)), wide);
        let cut = "\
name            count  state   why
first               1  open    nothing i…
the second one  1,234  closed  日本語日…
";
        assert_eq!(table().drawn(plain(41)), cut);
    }

    #[test]
    fn a_row_has_more_lines_where_there_is_none() {
        let narrow = "\
name            count
    state   why
first               1
    open    nothing in particular
the second one  1,234
    closed  日本語日本語
";
        assert_eq!(table().drawn(plain(38)), narrow, "nothing is cut that need not be");
        let narrower = "\
name            count
    state   why
first               1
    open    nothing in…
the second one  1,234
    closed  日本語日本…
";
        assert_eq!(table().drawn(plain(23)), narrower);
    }

    #[test]
    fn the_first_line_is_as_short_as_it_can_be() {
        let mut table = Table::new([Column::text("partition"), Column::number("first"), Column::number("last")]);
        table.add(["of.a.topic.with.a.long.name[0]".into(), "0".into(), "1,234".into()]);
        let drawn = "\
partition
    first   last
of.a.topic.with.a.long.name[0]
        0  1,234
";
        assert_eq!(table.drawn(plain(40)), drawn);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_unless_a_cell_is_that_may_not_be_cut() {
        for width in 18..60 {
            let drawn = table().drawn(plain(width));
            assert!(drawn.lines().all(|line| columns(line) <= width), "{width}\n{drawn}");
        }
        let mut ids = Table::new([Column::text("id"), Column::text("why").cut_to(8)]);
        ids.add(["x".repeat(30), "y".repeat(30)]);
        let (id, why) = ("x".repeat(30), format!("    {}…", "y".repeat(15)));
        assert_eq!(ids.drawn(plain(20)), format!("id\n    why\n{id}\n{why}\n"));
    }

    #[test]
    fn what_is_left_of_a_line_is_shared() {
        let mut table =
            Table::new([Column::text("a").cut_to(4), Column::text("b").cut_to(4), Column::text("c").cut_to(4)]);
        table.add(["a".repeat(30), "b".repeat(6), "c".repeat(30)]);
        assert_eq!(table.drawn(plain(30)).lines().nth(1), Some("aaaaaaaaa…  bbbbbb  ccccccccc…"));
    }

    #[test]
    fn each_line_of_a_row_has_its_colour() {
        let mut table = Table::new([Column::text("a"), Column::text("b")]);
        table.add_coloured(["aaa".into(), "bbb".into()], Some(Colour::Red));
        let drawn = table.drawn(Terminal { width: 7, colours: true });
        assert!(drawn.ends_with("\x1b[31maaa\x1b[0m\n\x1b[31m    bbb\x1b[0m\n"), "{drawn:?}");
    }
}
