//! Items that were put here (BEP 44).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use wire::krpc::{MutableItem, Refusal, code, immutable_target, mutable_target};

use super::id::Id;
use super::item::is_signed;
use super::owners::{greediest, owner};
use crate::engine::time::Time;

/// Items are put again every hour.
const LIFE: Duration = Duration::from_secs(2 * 3600);
/// At most about a kilobyte each.
const MAX_ITEMS: usize = 700;
/// Items that a holder of addresses may have when there is no room: those with more give way first.
const OWN_ITEMS: usize = 16;

/// An item.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) value: Box<[u8]>,
    /// What a mutable item has besides.
    pub(crate) signed: Option<Box<Signed>>,
    put: Time,
    /// Who put it first.
    creator: IpAddr,
}

/// What makes an item mutable.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) key: [u8; 32],
    pub(crate) signature: [u8; 64],
    pub(crate) seq: i64,
}

/// Items by target, within bounds.
#[derive(Debug, Default)]
pub(crate) struct ItemStore(BTreeMap<Id, Item>);

impl ItemStore {
    pub(crate) fn get(&self, target: &Id) -> Option<&Item> {
        self.0.get(target)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keeps an item, or says why not. When there are too many, those of whoever put many go first, then those far from all our ids.
    pub(crate) fn put(
        &mut self,
        now: Time,
        own: &[Id],
        from: IpAddr,
        value: &[u8],
        mutable: Option<&MutableItem<'_>>,
    ) -> Result<(), Refusal<'static>> {
        let target =
            Id(mutable.map_or_else(|| immutable_target(value), |new| mutable_target(new.key, new.salt)));
        if let (Some(new), Some(old)) = (mutable, self.0.get(&target)) {
            replaces(old, value, new)?;
        }
        if mutable.is_some_and(|new| !is_signed(new.key, new.salt, new.seq, value, new.signature)) {
            return Err(Refusal::new(code::BAD_SIGNATURE, "the signature does not match"));
        }
        if !self.0.contains_key(&target) && self.0.len() >= MAX_ITEMS && !self.evict(own, &target) {
            return Err(Refusal::new(code::SERVER, "no room for more items"));
        }
        let signed =
            mutable.map(|new| Box::new(Signed { key: *new.key, signature: *new.signature, seq: new.seq }));
        let creator = self.0.get(&target).map_or_else(|| owner(from), |known| known.creator);
        self.0.insert(target, Item { value: value.into(), signed, put: now, creator });
        Ok(())
    }

    /// Forgets what was not put again for two hours.
    pub(crate) fn expire(&mut self, now: Time) {
        self.0.retain(|_, item| now - item.put < LIFE);
    }

    /// Makes room for an item: in place of one of whoever put most of them, or of one that is farther from us.
    fn evict(&mut self, own: &[Id], target: &Id) -> bool {
        let distance = |target: &Id| own.iter().map(|own| own.distance(target)).min();
        let gone = match greediest(self.0.values().map(|item| item.creator), OWN_ITEMS) {
            Some(greedy) => {
                let of_greedy = self.0.iter().filter(|(_, item)| item.creator == greedy);
                of_greedy.min_by_key(|(_, item)| item.put).map(|(target, _)| *target)
            }
            None => {
                let farthest = self.0.keys().max_by_key(|known| distance(known)).copied();
                farthest.filter(|known| distance(known) > distance(target))
            }
        };
        gone.is_some_and(|gone| self.0.remove(&gone).is_some())
    }
}

/// Whether an item may take the place of the one that is stored: its number grows, or it is the same once more.
fn replaces(old: &Item, value: &[u8], new: &MutableItem<'_>) -> Result<(), Refusal<'static>> {
    let Some(old_seq) = old.signed.as_ref().map(|signed| signed.seq) else { return Ok(()) };
    if new.cas.is_some_and(|cas| cas != old_seq) {
        return Err(Refusal::new(code::CAS_MISMATCH, "cas is not the number of the stored item"));
    }
    if new.seq < old_seq || (new.seq == old_seq && *old.value != *value) {
        return Err(Refusal::new(code::SEQUENCE_TOO_LOW, "seq is not higher than that of the stored item"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::api::Mutable;
    use super::*;

    const OWN: &[Id] = &[Id([0; 20]), Id([0xff; 20])];

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0900_0000 + n).into()
    }

    fn put(store: &mut ItemStore, secs: u64, item: &Mutable, cas: Option<i64>) -> Result<(), u16> {
        let mutable =
            MutableItem { key: &item.key, salt: &item.salt, seq: item.seq, cas, signature: &item.signature };
        store
            .put(Time::from_secs(secs), OWN, ip(1), &item.value, Some(&mutable))
            .map_err(|refusal| refusal.code)
    }

    fn item(seq: i64, value: &[u8]) -> Mutable {
        Mutable::sign(&[1; 32], b"s".into(), seq, value.into())
    }

    #[test]
    fn a_mutable_item_changes_only_upwards_and_as_expected() {
        let mut store = ItemStore::default();
        let cases = [
            (item(5, b"i1e"), Some(9), Ok(())), // nothing to compare with
            (item(5, b"i2e"), None, Err(code::SEQUENCE_TOO_LOW)),
            (item(5, b"i1e"), None, Ok(())),
            (item(4, b"i3e"), None, Err(code::SEQUENCE_TOO_LOW)),
            (item(6, b"i3e"), Some(4), Err(code::CAS_MISMATCH)),
            (item(6, b"i3e"), Some(5), Ok(())),
            (item(i64::MAX, b"i4e"), None, Ok(())),
            (Mutable { signature: [1; 64], ..item(i64::MAX, b"i4e") }, None, Err(code::BAD_SIGNATURE)),
            (Mutable { salt: b"t".into(), ..item(1, b"i4e") }, None, Err(code::BAD_SIGNATURE)),
        ];
        for (item, cas, wanted) in cases {
            assert_eq!(put(&mut store, 0, &item, cas), wanted, "{item:?} {cas:?}");
        }
        assert_eq!(store.get(&item(0, b"").target()).map(|item| &*item.value), Some(&b"i4e"[..]));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn items_expire_unless_they_are_put_again() {
        let mut store = ItemStore::default();
        put(&mut store, 0, &item(1, b"i1e"), None).unwrap();
        store.put(Time::ZERO, OWN, ip(1), b"i2e", None).unwrap();
        put(&mut store, 3600, &item(1, b"i1e"), None).unwrap();
        store.expire(Time::from_secs(7200));
        assert_eq!(store.len(), 1);
        store.expire(Time::from_secs(10_800));
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn a_flood_of_items_stays_within_bounds_and_keeps_what_is_near() {
        let mut store = ItemStore::default();
        for n in 0..2000 {
            let _ = store.put(Time::ZERO, OWN, ip(n), format!("i{n}e").as_bytes(), None);
        }
        assert_eq!(store.len(), MAX_ITEMS);
        let kept: Vec<_> = store.0.keys().copied().collect();
        let mut all: Vec<_> = (0..2000).map(|n| Id(immutable_target(format!("i{n}e").as_bytes()))).collect();
        // Near one id or the other.
        all.sort_by_key(|id| OWN.iter().map(|own| own.distance(id)).min());
        all.truncate(MAX_ITEMS);
        all.sort();
        assert_eq!(kept, all);
    }

    #[test]
    fn who_floods_the_store_puts_out_its_own() {
        let mut store = ItemStore::default();
        let values: Vec<String> = (0..20).map(|n| format!("i{n}e")).collect();
        for (n, value) in (0..).zip(&values) {
            store.put(Time::ZERO, OWN, ip(n), value.as_bytes(), None).unwrap();
        }
        for n in 100..3000_u64 {
            store.put(Time::from_secs(n), OWN, ip(999), format!("i{n}e").as_bytes(), None).unwrap();
        }
        assert_eq!(store.len(), MAX_ITEMS);
        assert!(values.iter().all(|value| store.get(&Id(immutable_target(value.as_bytes()))).is_some()));
    }
}
