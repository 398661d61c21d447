//! A partner's queue, simulated over hours: who waits how long, and how many calls 360dialog gets.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod world;

use onboarding::queue::{Due, Lane};
use world::{HOUR, MINUTE, Manner, Ms, NEVER, SECOND, World};

const SPAN: Ms = 30 * SECOND;

/// The time of three calls at 5/30s: a look and a key.
const NUMBER: Ms = 18 * SECOND;

/// A new number without others: three calls of 0.3 s, each sent up to 0.3 s after it is counted, and the way there.
const AT_ONCE: Ms = 5 * SECOND;

fn ms(number: usize) -> Ms {
    Ms::try_from(number).unwrap()
}

/// The limit holds by the hub's own count, and nothing of the line went before a smaller place.
fn assert_lawful(world: &World) {
    assert!(world.most_calls(SPAN) <= 5);
    assert_eq!(world.out_of_order, 0);
}

/// Each of these numbers has its key within three calls for each tenant that had work meanwhile, and a minute.
fn assert_fair(world: &World, clients: &[usize]) {
    for client in clients {
        let waited = world.waited(*client).expect("its key is stored");
        let came = world.items[*client].came;
        let tenants = world.most_active(came, came + waited);
        let most = NUMBER * ms(tenants) + MINUTE;
        assert!(waited <= most, "{waited} ms beside {tenants} tenants");
    }
}

/// How many keys are stored in an hour, if it goes on so.
fn keys_per_hour(world: &World) -> Ms {
    ms(world.stored().len()) * HOUR / world.now
}

fn longest_wait(world: &World, clients: &[usize]) -> Ms {
    let waits = clients.iter().map(|client| world.waited(*client).unwrap());
    waits.max().unwrap()
}

/// The calls about each of the first tenants between two times.
fn calls(world: &World, tenants: usize, from: Ms, to: Ms) -> Vec<usize> {
    let mut calls = vec![0; tenants];
    let during = world
        .calls
        .iter()
        .filter(|call| (from..to).contains(&call.at));
    for call in during.filter(|call| call.tenant < tenants) {
        calls[call.tenant] += 1;
    }
    calls
}

fn newcomers_beside(waiting: usize) {
    let mut world = World::new(1);
    let first: Vec<usize> = (0..waiting).map(|n| world.claim(0, n % 20, &[0])).collect();
    let newcomers: Vec<usize> = (1..=40)
        .map(|n| world.claim(15 * SECOND * ms(n), 20 + n, &[0]))
        .collect();
    world.run_until_settled(24 * HOUR);
    assert_lawful(&world);
    assert_fair(&world, &newcomers);
    assert_eq!(world.stored().len(), first.len() + newcomers.len());
    let (keys, longest) = (keys_per_hour(&world), longest_wait(&world, &newcomers));
    assert!(keys >= 165, "{keys} keys an hour");
    assert!(longest <= 10 * MINUTE, "{longest} ms");
}

#[test]
fn newcomers_beside_a_hundred_numbers_of_twenty_tenants_wait_minutes_and_no_call_is_wasted() {
    newcomers_beside(100);
}

fn newcomers_beside_a_flood(claims: usize, newcomers: usize) {
    let mut world = World::new(2);
    for _ in 0..claims {
        world.claim(0, 0, &[0]);
    }
    let newcomers: Vec<usize> = (1..=newcomers)
        .map(|n| world.claim(MINUTE * ms(n), n, &[0]))
        .collect();
    world.run_until(MINUTE * ms(newcomers.len() + 3));
    assert_lawful(&world);
    assert_fair(&world, &newcomers);
    let (keys, longest) = (keys_per_hour(&world), longest_wait(&world, &newcomers));
    assert!(keys >= 165, "{keys} keys an hour");
    assert!(longest <= 100 * SECOND, "{longest} ms");
}

#[test]
fn a_newcomer_beside_one_tenants_flood_waits_a_minute() {
    newcomers_beside_a_flood(500, 60);
}

/// Tenants whose claims all come at once, one tenant's after the other's.
fn tenants_take_turns(tenants: usize, claims: usize) {
    let mut world = World::new(3);
    for n in 0..tenants * claims {
        world.claim(0, n / claims, &[0]);
    }
    world.run_until_settled(48 * HOUR);
    assert_lawful(&world);
    assert_eq!(world.stored().len(), tenants * claims);
    let keys = keys_per_hour(&world);
    assert!(keys >= 165, "{keys} keys an hour");
    // Once all are registered, none is ahead of another by more than one number and the calls of a minute.
    let mut calls = vec![0_usize; tenants];
    for call in world.calls.iter().filter(|call| call.at > MINUTE) {
        calls[call.tenant] += 1;
        let ahead = calls.iter().max().unwrap() - calls.iter().min().unwrap();
        assert!(ahead <= 3 + 10, "{calls:?}");
    }
}

#[test]
fn tenants_whose_claims_come_at_once_take_turns() {
    tenants_take_turns(10, 8);
}

fn one_client_with(numbers: usize, minutes: usize) {
    let waits = |numbers: usize| {
        let mut world = World::new(4);
        world.claim(0, 0, &vec![0; numbers]);
        let others: Vec<usize> = (1..minutes)
            .map(|n| world.claim(MINUTE * ms(n), n, &[0]))
            .collect();
        world.run_until(MINUTE * ms(minutes + 5));
        assert_lawful(&world);
        let waits = others.iter().map(|other| world.waited(*other).unwrap());
        waits.collect::<Vec<Ms>>()
    };
    let (alone, beside) = (waits(1), waits(numbers));
    let more = beside
        .iter()
        .zip(&alone)
        .map(|(beside, alone)| beside - alone);
    let most = more.max().unwrap();
    assert!(most <= 2 * MINUTE, "{most} ms");
}

#[test]
fn a_client_with_many_numbers_costs_the_others_at_most_two_minutes() {
    one_client_with(80, 30);
}

#[test]
fn the_flooders_next_customer_on_an_idle_hub_is_served_at_once() {
    let mut world = World::new(5);
    for n in 0..60 {
        // Half of them find nothing, for 32 hours.
        world.claim(0, 0, &[if n % 2 == 0 { 0 } else { NEVER }]);
    }
    world.run_until_settled(48 * HOUR);
    assert_eq!(world.stored().len(), 30);
    let next = world.claim(world.now + MINUTE, 0, &[0]);
    world.run_until(world.now + 2 * MINUTE);
    let waited = world.waited(next).unwrap();
    assert!(waited < AT_ONCE, "{waited} ms");
}

#[test]
fn a_lonely_number_is_served_at_once_at_every_moment_of_the_minute() {
    let mut longest = 0;
    for n in 0..300 {
        let mut world = World::new(n);
        let at = MINUTE + 200 * Ms::try_from(n).unwrap();
        let lonely = world.claim(at, 0, &[0]);
        world.run_until(at + MINUTE);
        let waited = world.waited(lonely).unwrap();
        longest = longest.max(waited);
        assert!(waited < AT_ONCE, "{waited} ms, {n}");
    }
}

#[test]
fn each_of_k_tenants_with_work_gets_one_kth_of_the_calls_whatever_the_others_send() {
    let mut world = World::new(7);
    world.claim(0, 1, &[0; 400]);
    for n in 0..400 {
        world.claim(0, 0, &[0]);
        world.claim(20 * SECOND * n, 2, &[0]);
        // These two look in vain, and pay for keys that they do not make; then the second one's all run.
        world.claim(10 * SECOND * n, 3, &[NEVER]);
        world.claim(0, 4, &[HOUR]);
    }
    world.run_until(3 * HOUR);
    assert_lawful(&world);
    for part in 0..6 {
        let from = 5 * MINUTE + part * 28 * MINUTE;
        let calls = calls(&world, 5, from, from + 28 * MINUTE);
        let all: usize = calls.iter().sum();
        let (least, most) = (
            calls[..3].iter().min().unwrap(),
            calls.iter().max().unwrap(),
        );
        assert!(least * 5 >= all, "{calls:?}");
        assert!(most - least <= 8, "{calls:?}");
    }
}

#[test]
fn a_tenant_that_comes_later_gets_its_part_and_not_what_it_has_missed() {
    let mut world = World::new(7);
    for _ in 0..300 {
        world.claim(0, 0, &[0]);
        world.claim(HOUR, 1, &[0]);
    }
    world.run_until(2 * HOUR);
    assert_lawful(&world);
    let calls = calls(&world, 2, HOUR + MINUTE, 2 * HOUR);
    assert!(calls[0].abs_diff(calls[1]) <= 8, "{calls:?}");
}

#[test]
fn who_has_looked_in_vain_for_long_has_saved_nothing_up() {
    let mut world = World::new(7);
    for n in 0..200 {
        world.claim(0, 0, &[100 * MINUTE]);
        for tenant in [1, 2] {
            world.claim(HOUR + 30 * SECOND * n, tenant, &[0]);
        }
    }
    world.run_until(3 * HOUR);
    assert_lawful(&world);
    for part in 0..6 {
        let from = HOUR + part * 20 * MINUTE;
        let calls = calls(&world, 3, from, from + 20 * MINUTE);
        let all: usize = calls.iter().sum();
        assert!(calls[0] * 3 <= all + 9, "{calls:?}");
    }
}

#[test]
fn looks_do_not_starve_keys_at_any_limit() {
    for (rate, pace) in [
        ("4/1s", 250),
        ("5/30s", 6 * SECOND),
        ("12/60s", 5 * SECOND),
        ("20/30s", 1500),
        ("100/3600s", 36 * SECOND),
    ] {
        let mut world = World::new(12);
        world.rate = rate.parse().unwrap();
        world.claim(0, 0, &[0; 400]);
        // Five tenants look, more often than the limit allows, at first as evenly as it goes.
        for n in 0..500 {
            world.claim(pace * ms(n), 1 + n % 5, &[NEVER]);
        }
        world.run_until(500 * pace);
        let calls = calls(&world, 6, 100 * pace, 500 * pace);
        let all: usize = calls.iter().sum();
        // Those who look in vain pay three calls for one.
        assert!(calls[0] * 9 >= all * 3, "{rate}: {calls:?}");
    }
}

#[test]
fn the_limit_holds_when_workers_die_and_others_take_over() {
    let mut deaths = 0;
    for seed in 0..10 {
        let mut world = World::new(seed);
        world.crashes = 0.1;
        for n in 0..40 {
            world.claim(20 * SECOND * ms(n), n % 7, &[0]);
        }
        world.run_until_settled(2 * HOUR);
        assert_lawful(&world);
        assert_eq!(world.stored().len(), 40);
        deaths += world.deaths;
    }
    assert!(deaths > 50, "{deaths}");
}

/// Sixty claims, one every 20 s, of seven tenants.
fn steady_claims(world: &mut World) {
    for n in 0..60 {
        world.claim(20 * SECOND * ms(n), n % 7, &[0]);
    }
}

#[test]
fn a_hub_that_hangs_for_two_minutes_does_not_stop_what_comes_after() {
    let mut world = World::new(8);
    let (from, to) = (10 * MINUTE, 12 * MINUTE);
    world.manner = Box::new(move |at, _| match (from..to).contains(&at) {
        true => Manner::Silent,
        false => Manner::Answers(300),
    });
    steady_claims(&mut world);
    let later = world.claim(to + 2 * MINUTE, 9, &[0]);
    world.run_until_settled(2 * HOUR);
    assert_lawful(&world);
    let meanwhile: usize = calls(&world, 10, from, to).iter().sum();
    let next = world.calls.iter().find(|call| call.at >= to).unwrap();
    assert!(meanwhile <= 6, "{meanwhile}");
    assert!(next.at - to <= 2 * MINUTE);
    assert_fair(&world, &[later]);
    assert_eq!(world.stored().len(), 61);
}

#[test]
fn a_client_whose_calls_always_hang_stops_nobody() {
    let mut world = World::new(8);
    let hangs = world.claim(0, 0, &[0]);
    world.manner = Box::new(move |_, item| match item == hangs {
        true => Manner::Silent,
        false => Manner::Answers(300),
    });
    let others: Vec<usize> = (1..30)
        .map(|n| world.claim(MINUTE * ms(n), n, &[0]))
        .collect();
    world.run_until(40 * MINUTE);
    assert_lawful(&world);
    let longest = longest_wait(&world, &others);
    assert!(longest <= 30 * SECOND, "{longest} ms");
}

#[test]
fn clients_whose_calls_always_hang_take_no_more_than_their_tenants_part() {
    let mut world = World::new(8);
    for n in 0..60 {
        world.claim(0, n % 3, &vec![0; 10 * (n % 3)]);
    }
    world.manner = Box::new(|_, item| match item < 60 && item % 3 == 0 {
        true => Manner::Silent,
        false => Manner::Answers(300),
    });
    world.run_until(HOUR);
    assert_lawful(&world);
    let calls = calls(&world, 3, MINUTE, HOUR);
    let all: usize = calls.iter().sum();
    assert!(calls[0] * 3 <= all, "{calls:?}");
    assert!(calls[1].abs_diff(calls[2]) <= 8, "{calls:?}");
}

#[test]
fn a_hub_that_answers_429_for_an_hour_is_asked_every_thirty_seconds_and_nothing_is_lost() {
    let mut world = World::new(9);
    let (from, to) = (10 * MINUTE, 70 * MINUTE);
    world.manner = Box::new(move |at, _| match (from..to).contains(&at) {
        true => Manner::TooMany(None),
        false => Manner::Answers(300),
    });
    steady_claims(&mut world);
    let end = world.run_until_settled(2 * HOUR);
    assert_lawful(&world);
    let meanwhile: usize = calls(&world, 10, from, to).iter().sum();
    assert!((100..=120).contains(&meanwhile), "{meanwhile}");
    assert!(end - to <= 30 * MINUTE);
    assert_eq!(world.stored().len(), 60);
}

#[test]
fn a_hub_that_takes_five_seconds_gets_nearly_as_many_calls() {
    let mut world = World::new(10);
    world.manner = Box::new(|_, _| Manner::Answers(5 * SECOND));
    for n in 0..100 {
        world.claim(0, n % 7, &[0]);
    }
    world.run_until_settled(2 * HOUR);
    assert_lawful(&world);
    let keys = keys_per_hour(&world);
    assert!(keys >= 150, "{keys} keys an hour");
}

#[test]
fn a_claim_beside_a_thousand_background_items_since_yesterday_is_served_at_once() {
    let mut longest = 0;
    for n in 0..30 {
        let mut world = World::new(n);
        for item in 0..1000 {
            world.background(-24 * HOUR + item);
        }
        let at = Ms::try_from(n).unwrap() * 5900;
        let claim = world.claim(at, 0, &[0]);
        world.run_until(at + 2 * MINUTE);
        assert_lawful(&world);
        let waited = world.waited(claim).unwrap();
        longest = longest.max(waited);
        assert!(waited < AT_ONCE, "{waited} ms, {n}");
        let background = world.calls.iter().filter(|call| call.is_background);
        assert!(background.count() >= 4);
    }
}

#[test]
fn the_background_gets_one_call_in_ten_while_customers_wait() {
    let mut world = World::new(11);
    for item in 0..200 {
        world.background(item);
        world.claim(0, 0, &[0]);
    }
    world.run_until(HOUR);
    assert_lawful(&world);
    let all = world.calls.len();
    let background = world.calls.iter().filter(|call| call.is_background);
    let background = background.count();
    assert!(
        (all / 12..=all / 9).contains(&background),
        "{background} of {all}"
    );
}

fn alarms_on_one_tick(alarms: usize, tenants: usize) {
    let mut world = World::new(13);
    let tick = 10 * MINUTE;
    for n in 0..alarms {
        world.alarm(tick, n % tenants, &[0]);
    }
    let mut newcomers = vec![world.claim(tick + SECOND, tenants, &[0])];
    newcomers.extend((1..=10).map(|n| world.claim(tick + MINUTE * ms(n), tenants + n, &[0])));
    // This one's alarm comes up behind all the others, that are moved into the line one by one.
    let number = world.claim(tick - MINUTE, tenants + 20, &[tick - 30 * SECOND]);
    world.run_until(HOUR);
    assert_lawful(&world);
    assert_fair(&world, &newcomers);
    let moving = ms(alarms / 25) * 200;
    let waited = world.waited(number).unwrap();
    // Its first look, in vain, has cost it one turn.
    let most = 2 * MINUTE + 2 * NUMBER * ms(tenants + 12) + moving;
    assert!(waited <= most, "{waited} ms");
}

#[test]
fn alarms_on_one_tick_do_not_starve_a_newcomer() {
    alarms_on_one_tick(2500, 1);
    alarms_on_one_tick(2500, 20);
}

#[test]
fn a_claim_that_comes_while_its_client_is_looked_at_is_looked_at_again() {
    let mut looks = [0; 3];
    for offset in 0..150 {
        let mut world = World::new(14);
        // The clock's run looks at the client, and the stream brings the claim from before that look until after it.
        let client = world.alarm(MINUTE, 0, &[0]);
        let claimed = MINUTE - SECOND + 20 * offset;
        world.claim_again(claimed, client);
        world.run_until_settled(HOUR);
        let begun = &world.items[client].begun;
        looks[begun.len()] += 1;
        let registered = claimed + 300;
        assert!(*begun.last().unwrap() >= registered, "{offset}: {begun:?}");
        assert_eq!(world.keys(client).count(), 1);
    }
    assert!(looks[1] > 10 && looks[2] > 10, "{looks:?}");
}

/// Claims of every kind on a hub with every trouble, by workers that die: at the end everything is settled.
fn nothing_is_lost(claims: usize, seed: u64) {
    let mut world = World::new(seed);
    world.crashes = 0.02;
    world.manner = Box::new(|at, item| match (at / MINUTE % 17, item % 11) {
        (3 | 4, _) | (_, 7) if at < 3 * HOUR => Manner::Silent,
        (9, _) => Manner::TooMany(Some(20)),
        (12, _) => Manner::Answers(5 * SECOND),
        _ => Manner::Answers(300),
    });
    let mut clients = Vec::new();
    for n in 0..claims {
        let at = world.rng.i64(0..HOUR);
        let numbers = world.rng.usize(1..4);
        let runs: Vec<Ms> = (0..numbers).map(|_| world.rng.i64(0..2 * HOUR)).collect();
        let client = world.claim(at, n % 5, &runs);
        clients.push((client, numbers));
        let again = at + world.rng.i64(0..HOUR);
        world.claim_again(again, client);
        world.background(at);
    }
    world.run_until_settled(72 * HOUR);
    assert_lawful(&world);
    for (client, numbers) in clients {
        let stored = world.keys(client).filter(|key| key.settled.is_some());
        assert_eq!(stored.count(), numbers, "client {client}");
    }
    let in_line = |due: Due| due.lane() == Lane::Line;
    let mut due = world.items.iter().filter_map(|item| item.entry.due);
    assert!(!due.any(in_line));
}

#[test]
fn nothing_that_was_made_due_is_lost() {
    for seed in 20..24 {
        nothing_is_lost(30, seed);
    }
}

mod soak {
    use super::*;

    #[test]
    fn newcomers_beside_a_thousand_numbers_of_twenty_tenants_wait_minutes() {
        newcomers_beside(1000);
    }

    #[test]
    fn a_newcomer_beside_a_flood_of_five_thousand_waits_a_minute_for_six_hours() {
        newcomers_beside_a_flood(5000, 360);
    }

    #[test]
    fn fifty_tenants_with_forty_claims_each_take_turns() {
        tenants_take_turns(50, 40);
    }

    #[test]
    fn a_client_with_five_hundred_numbers_costs_the_others_at_most_two_minutes() {
        one_client_with(500, 120);
    }

    #[test]
    fn a_hundred_thousand_alarms_on_one_tick_do_not_starve_a_newcomer() {
        alarms_on_one_tick(100_000, 1);
        alarms_on_one_tick(100_000, 20);
    }

    #[test]
    fn nothing_that_was_made_due_is_lost_whatever_happens() {
        for seed in 100..200 {
            nothing_is_lost(60, seed);
        }
    }
}
