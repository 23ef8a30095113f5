use alloc::collections::BTreeMap;
use alloc::string::String;

/// Names of extension messages and the ids by which their *receiver* knows them (BEP 10): a message is sent with the id
/// that the other side gave out.
///
/// Bounded: at most [`MAX`](Self::MAX) names of at most [`MAX_NAME`](Self::MAX_NAME) bytes are kept; more are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    ids: BTreeMap<String, u8>,
}

impl Extensions {
    /// Names kept of one peer.
    pub const MAX: usize = 100;

    /// Bytes of the longest name kept.
    pub const MAX_NAME: usize = 64;

    /// The id of `name`, unless it is unknown or disabled.
    pub fn id(&self, name: &str) -> Option<u8> {
        self.ids.get(name).copied().filter(|id| *id != 0)
    }

    /// The name that stands for `id`; of our own map, this names a message that came in.
    pub fn name(&self, id: u8) -> Option<&str> {
        self.iter().find(|(_, found)| *found == id && id != 0).map(|(name, _)| name)
    }

    /// Gives `name` an id, or disables it with 0. False if there is no room for it.
    pub fn set(&mut self, name: &str, id: u8) -> bool {
        if let Some(old) = self.ids.get_mut(name) {
            *old = id;
        } else if self.ids.len() < Self::MAX && name.len() <= Self::MAX_NAME {
            self.ids.insert(name.into(), id);
        } else {
            return false;
        }
        true
    }

    /// Takes in what a later handshake says: names that it leaves out stay as they are.
    pub fn merge(&mut self, later: &Self) {
        for (name, id) in later.iter() {
            self.set(name, id);
        }
        self.ids.retain(|_, id| *id != 0);
    }

    /// All names, in order, with their ids; 0 is a name that was disabled.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u8)> {
        self.ids.iter().map(|(name, id)| (name.as_str(), *id))
    }
}

impl<'a> FromIterator<(&'a str, u8)> for Extensions {
    fn from_iter<I: IntoIterator<Item = (&'a str, u8)>>(ids: I) -> Self {
        let mut extensions = Self::default();
        for (name, id) in ids {
            extensions.set(name, id);
        }
        extensions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_handshakes_add_change_and_disable() {
        let mut map = Extensions::from_iter([("ut_metadata", 1), ("ut_pex", 2), ("lt_donthave", 3)]);
        map.merge(&Extensions::from_iter([("ut_pex", 0), ("lt_donthave", 7), ("ut_holepunch", 4)]));
        assert_eq!(
            map.iter().collect::<alloc::vec::Vec<_>>(),
            [("lt_donthave", 7), ("ut_holepunch", 4), ("ut_metadata", 1)]
        );
        assert_eq!((map.id("ut_pex"), map.name(7), map.name(0)), (None, Some("lt_donthave"), None));
    }

    #[test]
    fn names_are_bounded_in_number_and_length() {
        let mut map = Extensions::default();
        assert!(!map.set(&"x".repeat(65), 1));
        for i in 0..1000 {
            assert_eq!(map.set(&alloc::format!("{i}"), 1), i < 100);
        }
        assert!(map.set("0", 5), "a known name can change");
    }

    #[test]
    fn endless_handshakes_cannot_fill_the_map() {
        let mut map = Extensions::default();
        for round in 0..50 {
            let names: alloc::vec::Vec<_> = (0..100).map(|i| alloc::format!("{round} {i}")).collect();
            map.merge(&names.iter().map(|name| (name.as_str(), 1)).collect());
        }
        assert_eq!(map.iter().len(), Extensions::MAX);
    }
}
