//! The thread that listens to versions in shadow.
//!
//! Nobody waits for what they say, so none of the threads that decide listens to them. This one looks at their
//! rings at most once in [`PAUSE`]: one that rings without pause costs a look as short as any other, and
//! holds the core's lock for a bounded number of verdicts. It sleeps while nothing is in shadow.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use outrigger_decision::EngineIndex;
use outrigger_dock::Doorbell;
use outrigger_sensor::clock;
use outrigger_sensor::process::become_important;

use super::core::Wants;
use super::engines::Link;
use super::{Host, lock};

/// The shortest time from one look to the next, ns.
const PAUSE: u64 = clock::ms(1);

/// Listens until the process ends.
pub(crate) fn run(host: &Arc<Host>) {
    // It holds the lock of those who decide, and must not be put aside meanwhile.
    become_important();
    loop {
        let mut bells = vec![(host.shadow_bell.clone(), host.shadow_bell.arm())];
        let until = host.shadow_bells(&mut bells);
        // After the arming, so that what comes from here on wakes us.
        if !lock(&host.core).has_shadow_verdicts()
            && let Err(error) = outrigger_dock::sleep(&bells, until)
        {
            host.sensor_failed(&error);
        }
        bells.iter().for_each(|(bell, _)| bell.disarm());
        let looked = clock::now();
        host.collect_shadows(looked);
        host.pause_until(looked.saturating_add(PAUSE));
    }
}

impl Host {
    /// A version of the engine in shadow has docked behind `link` and is shown what it `wants` of what the
    /// engine is asked and told. A new epoch, so that known files are asked about once more.
    pub(super) fn begin_shadow(
        &self,
        index: EngineIndex,
        link: outrigger_supervisor::Link,
        wants: Wants,
    ) {
        let outrigger_supervisor::Link { events, verdicts, content } = link;
        let shadows = {
            let mut core = lock(&self.core);
            let link = Link::new(events, verdicts, content);
            core.begin_shadow(index, link, wants, clock::now());
            core.shadows()
        };
        self.shadows.store(shadows, Ordering::Release);
        self.shadow_bell.ring();
        self.new_epoch();
    }

    /// The version of the engine in shadow is shown nothing any more, if there is one.
    pub(super) fn end_shadow(&self, index: EngineIndex) {
        let mut news = Vec::new();
        let shadows = {
            let mut core = lock(&self.core);
            core.end_shadow(index);
            core.take_news(&mut news);
            core.shadows()
        };
        self.shadows.store(shadows, Ordering::Release);
        self.shadow_bell.ring();
        self.to_control.news(news);
    }

    /// Whether something is in shadow, so that paths are looked up for who reads of differences.
    pub(super) fn is_shadowed(&self) -> bool {
        self.shadows.load(Ordering::Acquire) > 0
    }

    /// Arms the bells of what is in shadow; until when nothing else is due.
    fn shadow_bells(&self, bells: &mut Vec<(Doorbell, u32)>) -> Option<u64> {
        let mut rings = Vec::new();
        let until = lock(&self.core).shadow_bells(&mut rings);
        bells.extend(rings.into_iter().map(|bell| {
            let value = bell.arm();
            (bell, value)
        }));
        until
    }

    fn collect_shadows(&self, now: u64) {
        let mut news = Vec::new();
        {
            let mut core = lock(&self.core);
            core.collect_shadows(now);
            core.take_news(&mut news);
        }
        self.to_control.news(news);
    }

    /// Waits until `until`, or until what is in shadow has changed.
    fn pause_until(&self, until: u64) {
        let bell = (self.shadow_bell.clone(), self.shadow_bell.arm());
        if clock::now() < until
            && self.is_shadowed()
            && let Err(error) = outrigger_dock::sleep(&[bell], Some(until))
        {
            self.sensor_failed(&error);
        }
        self.shadow_bell.disarm();
    }
}
