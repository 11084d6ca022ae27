//! endless data, as far as a limit on bytes sees it; what takes long is in `crates/fetch/tests`.

use super::world::{PACKAGE, World};

#[test]
fn an_endless_timestamp_is_refused_at_its_limit() {
    let mut world = World::new();
    world.author.serve("timestamp", vec![b' '; 16_385]);

    let refusal = world.refuses();

    assert_eq!(refusal.name(), "too-long");
    assert_eq!(
        refusal.to_string(),
        "timestamp.json is over its limit of 16384 bytes (one file of its role)"
    );
    world.recovers();
}

#[test]
fn files_that_are_small_each_may_not_be_many() {
    let mut world = World::new();
    world.limits.refresh_bytes = 6000;
    for _ in 0..8 {
        world.author.release(&["root"]);
    }
    let before = world.everything();

    let refusal = world.refresh().expect_err("too much in all");

    assert_eq!(refusal.name(), "too-long", "{refusal}");
    assert!(refusal.to_string().contains("what one refresh may fetch"), "{refusal}");
    assert_eq!(before.len() + 3, world.everything().len(), "the roots that came are kept");
}

#[test]
fn roots_without_end_are_refused() {
    let mut world = World::new();
    world.limits.roots = 4;
    for _ in 0..5 {
        world.author.release(&["root"]);
    }

    let first = world.refresh().expect_err("more roots than are followed");
    let second = world.refresh().expect("the next run goes on where it stopped");

    assert_eq!(first.name(), "too-many-roots", "{first}");
    assert_eq!(second.root, 6);
}

#[test]
fn a_target_over_the_callers_limit_is_not_fetched() {
    let world = World::new();
    let mut client = world.client();
    client.refresh(world.now).unwrap();
    let (progress, asked) = std::sync::mpsc::channel();

    let tell = move |_| progress.send(()).expect("the test waits");
    let refusal = client.target(PACKAGE, 8, tell).unwrap_err();

    assert_eq!(refusal.name(), "too-long");
    assert!(asked.try_recv().is_err());
}
