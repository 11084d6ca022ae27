//! A clock that was set back or forward a year.

use jiff::SignedDuration;

use super::world::World;

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

#[test]
fn a_clock_set_back_a_year_is_told_as_that() {
    let mut world = World::new();
    world.now -= YEAR;

    let refusal = world.refuses();

    assert_eq!(refusal.name(), "clock");
    assert_eq!(
        refusal.to_string(),
        "this machine's clock says 2029-01-01T00:00:00Z, but a refresh succeeded at \
         2030-01-01T00:00:00Z: it was set back by 365 days"
    );
    assert!(refusal.advice().starts_with("Set the clock."), "{}", refusal.advice());
    world.now += YEAR;
    world.recovers();
}

#[test]
fn a_clock_set_forward_a_year_finds_everything_expired_and_recovers() {
    let mut world = World::new();
    world.now += YEAR;

    let refusal = world.refuses();

    assert_eq!(refusal.name(), "expired");
    assert!(refusal.to_string().contains("clock says 2031-01-01T00:00:00Z"), "{refusal}");
    world.now -= YEAR;
    world.recovers();
}

#[test]
fn an_hour_back_is_no_question() {
    let mut world = World::new();
    world.now -= SignedDuration::from_hours(1);

    assert!(world.refresh().is_ok());
}

#[test]
fn a_record_of_the_clock_that_nobody_can_read_is_none() {
    let mut world = World::new();
    std::fs::write(world.store().join("clock"), "soon").unwrap();
    world.now -= SignedDuration::from_hours(1);

    assert!(world.refresh().is_ok());
}
