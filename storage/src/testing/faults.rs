//! System calls of [`FileStorage`](crate::FileStorage) that fail when told to, on the thread that asked for it.

pub use crate::files::Call;
use std::cell::RefCell;

/// What a call that is struck does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, and fails with this error number.
    Fail(i32),
    /// Half of it, if it reads or writes; others do all.
    Short,
}

/// Which calls are struck.
#[derive(Clone, Copy, Debug)]
pub struct CallFault {
    /// Only calls of this kind count; all of them when `None`.
    pub call: Option<Call>,
    /// The first call that is struck, counted from 0.
    pub nth: u64,
    /// Whether all later calls are struck too.
    pub lasting: bool,
    /// What happens to them.
    pub effect: Effect,
}

impl CallFault {
    /// Strikes nothing, to count calls.
    pub const NONE: Self = Self { call: None, nth: u64::MAX, lasting: false, effect: Effect::Short };
}

struct Injection {
    fault: CallFault,
    calls: u64,
    struck: u64,
}

thread_local! {
    static INJECTION: RefCell<Option<Injection>> = const { RefCell::new(None) };
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// What an injection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struck {
    /// Calls that counted.
    pub calls: u64,
    /// Those that were struck.
    pub struck: u64,
}

/// Runs `run`, and has its calls on this thread struck.
pub fn inject<T>(fault: CallFault, run: impl FnOnce() -> T) -> (T, Struck) {
    /// Ends the injection, also when `run` panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            INJECTION.set(None);
        }
    }
    INJECTION.set(Some(Injection { fault, calls: 0, struck: 0 }));
    let _end = End;
    let result = run();
    let struck = INJECTION.with_borrow(|injection| {
        injection.as_ref().map_or((0, 0), |injection| (injection.calls, injection.struck))
    });
    (result, Struck { calls: struck.0, struck: struck.1 })
}

/// What is to be done before a call, and how many calls of that kind come first.
struct Hook {
    call: Call,
    skip: u64,
    act: Box<dyn FnOnce()>,
}

/// Runs `run`; before its nth call of this kind on this thread, counted from 0, `act` is run: what comes between on other
/// threads. Whether it was.
pub fn before<T>(call: Call, nth: u64, act: impl FnOnce() + 'static, run: impl FnOnce() -> T) -> (T, bool) {
    HOOK.set(Some(Hook { call, skip: nth, act: Box::new(act) }));
    let result = run();
    (result, HOOK.take().is_none())
}

fn act_before(call: Call) {
    let due = HOOK.with_borrow_mut(|hook| match hook {
        Some(waiting) if waiting.call == call && waiting.skip == 0 => hook.take(),
        Some(waiting) if waiting.call == call => {
            waiting.skip -= 1;
            None
        }
        _ => None,
    });
    if let Some(hook) = due {
        (hook.act)();
    }
}

/// What happens to this call.
pub(crate) fn strike(call: Call) -> Option<Effect> {
    act_before(call);
    INJECTION.with_borrow_mut(|injection| {
        let injection = injection.as_mut()?;
        let CallFault { call: only, nth, lasting, effect } = injection.fault;
        if only.is_some_and(|only| only != call) {
            return None;
        }
        let at = injection.calls;
        injection.calls += 1;
        let is_struck = at == nth || (lasting && at > nth);
        injection.struck += u64::from(is_struck);
        is_struck.then_some(effect)
    })
}
