//! What was found: on the terminal, as tables, as a chart.

mod terminal;

pub(crate) use self::terminal::print;
