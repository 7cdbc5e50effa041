//! `sticky` and `cooperative-sticky`: situations with results worked out by hand. Groups are written as in
//! protocol-specs/vectors/README.md: id/instance/rack/version/topics/owned/generation/user data.

use crate::assignor_lines::answer;

const BOTH: [&str; 2] = ["sticky", "cooperative-sticky"];

fn assign(assignor: &str, topics: &str, members: &str) -> String {
    answer(&format!("{assignor}\t{topics}\t{members}")).unwrap()
}

#[track_caller]
fn both(topics: &str, members: &str, expected: &str) {
    for assignor in BOTH {
        assert_eq!(assign(assignor, topics, members), expected, "{assignor}");
    }
}

#[test]
fn a_single_member_gets_all_that_exists_of_what_it_wants() {
    both("t=2", "a///3////", "a=");
    both("t=2", "a///3/gone///", "a=");
    both("t=3", "a///3/t///", "a=t:0-2");
    both("s=1 t=2 u=4", "a///3/s,t///", "a=s:0;t:0-1");
    both("", "", "");
}

#[test]
fn equal_members_take_turns() {
    both("t=1", "a///3/t/// b///3/t///", "a=t:0 b=");
    both("t=2", "a///3/t/// b///3/t///", "a=t:0 b=t:1");
    both("s=3 t=3", "a///3/s,t/// b///3/s,t///", "a=s:0,2;t:1 b=s:1;t:0,2");
}

#[test]
fn partitions_go_to_the_member_with_the_least_that_wants_them() {
    both("s=3 t=2", "a///3/s/// b///3/s,t/// c///3/s///", "a=s:0,2 b=t:0-1 c=s:1");
    // In turns `b` would have got four and `a` one.
    both("s=2 t=1 u=2", "a///3/s,u/// b///3/s,t,u///", "a=s:0-1;u:1 b=t:0;u:0");
}

#[test]
fn whoever_has_the_least_can_come_to_have_the_most() {
    // Five for two: one may have three. Both had two, so it is the first in order.
    both("t=5", "a///3/t/t:0-1/1/1 b///3/t/t:2-3/1/1", "a=t:0-1,4 b=t:2-3");
    // It is who had two before.
    both("t=5", "a///3/t/t:0/1/1 b///3/t/t:2-3/1/1", "a=t:0-1 b=t:2-4");
}

#[test]
fn members_that_have_too_much_give_up_the_highest_partitions() {
    let members = "a///3/t/t:0-3/1/1 b///3/t/t:4-7/1/1 c///3/t///";
    assert_eq!(assign("sticky", "t=8", members), "a=t:0-2 b=t:4-6 c=t:3,7");
    // What comes from others waits until they gave it up.
    assert_eq!(assign("cooperative-sticky", "t=8", members), "a=t:0-2 b=t:4-6 c=");
    let after = "a///3/t/t:0-2/2/1 b///3/t/t:4-6/2/1 c///3/t//2/1";
    assert_eq!(assign("cooperative-sticky", "t=8", after), "a=t:0-2 b=t:4-6 c=t:3,7");
}

#[test]
fn what_members_left_goes_to_those_with_the_least() {
    both("t=9", "a///3/t/t:0-1/1/1 c///3/t/t:5/1/1", "a=t:0-2,4,8 c=t:3,5-7");
    both("t=4", "a///3/t/t:0/1/1 b///3/t/t:1/1/1", "a=t:0,2 b=t:1,3");
}

#[test]
fn topics_come_and_go() {
    both("s=2 t=2", "a///3/s,t/s:0/1/1 b///3/s,t/s:1/1/1", "a=s:0;t:0 b=s:1;t:1");
    both("t=2", "a///3/s,t/s:0;t:0/1/1 b///3/s,t/s:1;t:1/1/1", "a=t:0 b=t:1");
    both("u=1", "a///3/s/s:0/1/1 b///3/s/s:1/1/1", "a= b=");
    // More partitions of a topic.
    both("t=4", "a///3/t/t:0/1/1 b///3/t/t:1/1/1", "a=t:0,2 b=t:1,3");
}

#[test]
fn a_member_that_has_nothing_changes_nothing_when_there_is_nothing_to_get() {
    both("t=3", "a///3/t/t:0/3/1 b///3/t/t:1/3/1 c///3/t/t:2/3/1 d///3/t///", "a=t:0 b=t:1 c=t:2 d=");
}

#[test]
fn a_claim_of_a_later_generation_wins() {
    for stale in ["a///3/t/t:0-1/1/1", "a///3/t/t:0-1//1"] {
        both("t=4", &format!("{stale} b///3/t/t:0,2/2/1"), "a=t:1,3 b=t:0,2");
    }
    // Of three generations.
    let members = "a///3/t/t:0-2/1/1 b///3/t/t:1-2/2/1 c///3/t/t:2/3/1";
    both("t=3", members, "a=t:0 b=t:1 c=t:2");
}

#[test]
fn of_one_generation_nobody_keeps_what_two_claim() {
    let members = "a///3/t/t:0,2/1/1 b///3/t/t:0,3/1/1";
    assert_eq!(assign("sticky", "t=4", members), "a=t:0,2 b=t:1,3");
    // Until it is certain that nobody has it any more, nobody gets it.
    assert_eq!(assign("cooperative-sticky", "t=4", members), "a=t:2 b=t:1,3");
}

#[test]
fn sticky_goes_by_its_user_data_and_cooperative_by_the_subscription() {
    // The user data says t-1 of generation 5 for `a`.
    let told = "x0000000100017400000001000000010000 0005".replace(' ', "");
    let members = format!("a///3/t/t:0/1/{told} b///3/t///");
    assert_eq!(assign("sticky", "t=2", &members), "a=t:1 b=t:0");
    assert_eq!(assign("cooperative-sticky", "t=2", &members), "a=t:0 b=t:1");
}

#[test]
fn members_of_all_versions_share_a_group() {
    let sticky = "a///0/t/t:0/1/0 b///1/t/t:1/1/1 c///2/t/t:2/1/1 d///3/t/t:3/1/1";
    assert_eq!(assign("sticky", "t=4", sticky), "a=t:0 b=t:1 c=t:2 d=t:3");
    // Before version 1 a subscription has no owned partitions, before version 2 the generation is in the user data.
    let cooperative = "a///0/t/t:3/1/1 b///1/t/t:1-2/1/1 c///2/t/t:2/2/1 d///3/t/t:0/2/1";
    assert_eq!(assign("cooperative-sticky", "t=4", cooperative), "a=t:3 b=t:1 c=t:2 d=t:0");
}

#[test]
fn garbled_user_data_is_a_claim_to_nothing() {
    assert_eq!(assign("sticky", "t=2", "a///3/t/t:1/1/xffffffff b///3/t///"), "a=t:0 b=t:1");
    assert_eq!(assign("cooperative-sticky", "t=2", "a///1/t/t:1/1/xff b///1/t/t:1/0/1"), "a=t:0 b=t:1");
}

#[test]
fn a_moved_partition_goes_back_to_whom_it_was_taken_from() {
    // `b` and `c` missed generation 2, in which `a` got everything; `d` wants something else.
    let members = "a///3/t/t:0-3/2/1 b///3/t/t:1/1/1 c///3/t/t:0/1/1 d///3/u///";
    assert_eq!(assign("sticky", "t=4 u=1", members), "a=t:2-3 b=t:1 c=t:0 d=u:0");
}

#[test]
fn a_void_claim_is_no_reason_to_give_a_partition_to_a_second_owner() {
    // `b` missed generation 9, in which `c` got everything. It gets t-0 back, but not before `c` has given that up.
    let members = "b///3/t,u/t:0/8/1 c///3/t/t:0-1/9/1";
    assert_eq!(assign("sticky", "t=2", members), "b=t:0 c=t:1");
    assert_eq!(assign("cooperative-sticky", "t=2", members), "b= c=t:1");
    assert_eq!(assign("cooperative-sticky", "t=2", "b///3/t,u//10/1 c///3/t/t:1/10/1"), "b=t:0 c=t:1");
}

/// Kafka's assignors do not end here.
#[test]
fn moves_that_undo_each_other_come_to_an_end() {
    let members = "a///3/k/k:9,12,15,18,21,24,27,30,33,37,41,45,49,53,57,61,65,69,73,77,81,85,89,93,97,101,105,109/4/1 \
                   b///3/l/l:11-22/4/1 \
                   c///3/gone,k,l/k:0-7,34,38,42,46,50,54,58,62,66,70,74,78,82,86,90,94,98,102,106/4/1 \
                   d///3/k/k:10,13,16,19,22,25,28,31,35,39,43,47,51,55,59,63,67,71,75,79,83,87,91,95,99,103,107/4/1 \
                   e///3/gone//4/1 \
                   f///3/k/k:8,11,14,17,20,23,26,29,32,36,40,44,48,52,56,60,64,68,72,76,80,84,88,92,96,100,104,108/4/1 \
                   ～g///3/gone,l/l:0-10/4/1 \
                   ～h///3/k,l///";
    let shares = assign("sticky", "k=111 l=23", members);
    let ranges = shares
        .split([' ', ';'])
        .filter_map(|share| share.split_once(':'))
        .flat_map(|(_, ids)| ids.split(','));
    let size = |range: &str| match range.split_once('-') {
        Some((first, last)) => last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1,
        None => 1,
    };
    assert_eq!(ranges.map(size).sum::<usize>(), 111 + 23, "{shares}");
    assert!(!assign("cooperative-sticky", "k=111 l=23", members).is_empty());
}

#[test]
fn what_nobody_may_have_is_not_given_back() {
    // `b` had t-2 in an earlier generation and does not want `t` any more.
    let members = "a///3/t/t:0-3/2/1 b///3/u/t:2/1/1 c///3/t///";
    assert_eq!(assign("sticky", "t=4 u=1", members), "a=t:2-3 b=u:0 c=t:0-1");
    // Partitions that are gone, and a member that wants nothing.
    both("t=2", "a///3/t/t:0,5,7/1/1 b///3/t/t:1/1/1", "a=t:0 b=t:1");
    both("t=2", "a///3//// b///3/t///", "a= b=t:0-1");
}

#[test]
fn racks_come_after_even_shares() {
    let near = "a//r1/3/t/// b//r2/3/t///";
    both("t=4@r2,r1,r2,r1", near, "a=t:1,3 b=t:0,2");
    both("t=4@r1,r1,r1,r9", near, "a=t:0-1 b=t:2-3");
    // Every partition everywhere, or no rack in common: as without racks.
    both("t=4@r1+r2,r1+r2,r1+r2,r1+r2", near, "a=t:0,2 b=t:1,3");
    both("t=4@r8,r9,r8,r9", near, "a=t:0,2 b=t:1,3");
    // Different wishes.
    both("t=2@r2,r1 u=2@r1,r2", "a//r1/3/t,u/// b//r2/3/t,u/// c///3/t///", "a=t:1;u:0 b=u:1 c=t:0");
}

#[test]
fn near_members_take_turns() {
    both("t=6@r1,r1,r1,r1,r2,r2", "a//r1/3/t/// b//r1/3/t/// c//r2/3/t///", "a=t:0,2 b=t:1,3 c=t:4-5");
}

#[test]
fn a_member_gives_up_what_is_far_when_a_near_one_takes_it() {
    let members = "a//r1/3/t/t:0-1/1/1 b//r2/3/t/t:2-3/1/1";
    assert_eq!(assign("sticky", "t=4@r2,r2,r1,r1", members), "a=t:2-3 b=t:0-1");
    assert_eq!(assign("cooperative-sticky", "t=4@r2,r2,r1,r1", members), "a= b=");
    // Nobody is near: it stays.
    both("t=4@r1,r9,r2,r9", members, "a=t:0-1 b=t:2-3");
}
