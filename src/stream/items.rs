//! The records of a batch, in the order in which they were read.

use std::ops::Range;

use super::batch::Item;

/// They lie in pieces of one size. A single stretch would be moved whenever it grows, each time to memory that the
/// system has to clear first; a piece takes the place of one that another batch let go of.
#[derive(Debug, Default)]
pub struct Items {
    /// All but the last are full, and none is empty.
    pieces: Vec<Vec<Item>>,
}

/// As many as fit into 32 KiB, up to which jemalloc has memory at hand in each thread.
const PIECE: usize = (32 << 10) / size_of::<Item>();

impl Items {
    pub fn push(&mut self, item: Item) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(item),
            _ => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(item);
                self.pieces.push(piece);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> + Clone {
        self.range(0..self.len())
    }

    /// # Panics
    /// If there are fewer.
    pub fn range(&self, Range { start, end }: Range<usize>) -> impl DoubleEndedIterator<Item = &Item> + Clone {
        let pieces = start / PIECE..end.div_ceil(PIECE);
        self.pieces[pieces.clone()].iter().zip(pieces).flat_map(move |(piece, number)| {
            let before = number * PIECE;
            &piece[start.saturating_sub(before)..PIECE.min(end - before)]
        })
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Item> {
        self.pieces.get_mut(index / PIECE)?.get_mut(index % PIECE)
    }
}

impl IntoIterator for Items {
    type Item = Item;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<Item>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter().flatten()
    }
}

impl FromIterator<Item> for Items {
    fn from_iter<I: IntoIterator<Item = Item>>(items: I) -> Self {
        let mut all = Self::default();
        items.into_iter().for_each(|item| all.push(item));
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::{record::RecordOffset, stream::Content};

    use super::*;

    fn item(offset: usize) -> Item {
        let offset = RecordOffset::new(i64::try_from(offset).unwrap());
        Item { slice: 0, offset, timestamp: None, bytes: 0, content: Content::Ignored }
    }

    fn offsets<'i>(items: impl Iterator<Item = &'i Item>) -> Vec<usize> {
        items.map(|item| usize::try_from(item.offset.get()).unwrap()).collect()
    }

    #[test]
    fn any_stretch_of_them_is_walked_through_from_both_ends() {
        for len in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let mut items: Items = (0..len).map(item).collect();
            assert_eq!((items.len(), items.is_empty()), (len, len == 0));
            assert_eq!(offsets(items.iter()), (0..len).collect::<Vec<_>>());
            let edges = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5, len].into_iter().filter(|edge| *edge <= len);
            for (start, end) in edges.clone().flat_map(|start| edges.clone().map(move |end| (start, end))) {
                if start <= end {
                    assert_eq!(offsets(items.range(start..end)), (start..end).collect::<Vec<_>>());
                    assert_eq!(offsets(items.range(start..end).rev()), (start..end).rev().collect::<Vec<_>>());
                }
            }
            assert!(items.get_mut(len).is_none());
            if let Some(last) = len.checked_sub(1) {
                items.get_mut(last).unwrap().bytes = 1;
                assert_eq!(items.into_iter().map(|item| item.bytes).sum::<usize>(), 1);
            }
        }
    }
}
