//! The bodies, and the lists of them.

pub mod admin;
pub mod errors;
pub mod groups;
pub mod positions;
pub mod records;
pub mod scenarios;
pub mod static_members;
pub mod topics;

/// Makes a test of each body: `cases!(start: module::{a, b})`, where `start(name, body)` runs one.
#[macro_export]
macro_rules! cases {
    ($run:ident: $suite:ident::{$($name:ident),* $(,)?}) => {
        mod $suite {
            $(
                #[test]
                fn $name() {
                    super::$run(stringify!($name), async |target: &$crate::Target| $crate::suite::$suite::$name(target).await);
                }
            )*
        }
    };
}

/// All bodies that run everywhere. `all_cases!(start)` makes a test of each.
#[macro_export]
macro_rules! all_cases {
    ($run:ident) => {
        $crate::cases!($run: topics::{
            topics_are_created_described_and_deleted,
            a_topic_that_exists_is_not_created_again,
            partitions_are_added_while_a_group_consumes,
        });
        $crate::cases!($run: records::{
            every_shape_comes_back_uncompressed,
            every_shape_comes_back_through_gzip,
            every_shape_comes_back_through_snappy,
            every_shape_comes_back_through_lz4,
            every_shape_comes_back_through_zstd,
            batches_of_all_codecs_lie_in_one_partition,
            records_near_the_limit_go_through,
            a_record_over_the_producers_limit_is_refused_with_its_sizes,
            a_record_over_the_topics_limit_is_refused_and_the_others_go_on,
            keys_stay_in_their_partition_and_in_order,
        });
        $crate::cases!($run: positions::{
            earliest_begins_at_the_first_record,
            latest_begins_behind_the_last_record,
            none_without_a_commit_is_an_error,
            an_offset_out_of_range_with_none_is_an_error_and_a_seek_mends_it,
            seek_goes_back_and_forth,
            a_timestamp_is_a_place_to_start,
            a_paused_partition_gives_nothing_and_loses_nothing,
            whole_partitions_are_read_without_a_group,
            next_may_be_dropped_at_any_time,
            the_position_is_what_was_handed_out,
        });
        $crate::cases!($run: groups::{
            three_members_share_twelve_partitions,
            a_commit_is_where_the_next_member_resumes,
            what_was_not_committed_comes_again,
            a_member_that_joins_gets_its_share_and_nothing_twice,
            members_that_leave_hand_over_what_they_committed,
            a_crashed_member_is_replaced_when_its_session_ends,
            stored_offsets_are_committed_on_close,
            two_groups_do_not_know_each_other,
        });
        $crate::cases!($run: admin::{
            a_group_is_seen_reset_and_deleted,
            a_log_tells_its_offsets,
        });
        $crate::cases!($run: errors::{
            producing_to_an_unknown_topic_fails_in_time,
            consuming_an_unknown_topic_says_so_and_goes_on_with_others,
            an_answer_over_the_limit_names_the_limit,
            one_good_address_among_bad_ones_is_enough,
        });
        $crate::cases!($run: scenarios::{
            topics_come_grow_and_go_classic,
            topics_come_grow_and_go_consumer,
            each_subscription_gives_exactly_its_topics_classic,
            each_subscription_gives_exactly_its_topics_consumer,
            a_name_in_use_is_taken_over_classic,
            a_name_in_use_is_refused_consumer,
            members_that_join_one_by_one_take_only_what_moves_classic,
            members_that_join_one_by_one_take_only_what_moves_consumer,
            who_stops_taking_records_is_taken_out_classic,
            who_stops_taking_records_is_taken_out_consumer,
            a_member_may_wait_longer_than_a_request_for_the_others,
            who_stays_gets_partitions_that_were_added,
            a_partition_that_is_newer_than_the_metadata_is_read,
        });
        $crate::cases!($run: static_members::{
            a_static_member_that_restarts_is_missed_by_nobody_classic,
            a_static_member_that_restarts_is_missed_by_nobody_consumer,
            a_static_member_that_takes_no_records_is_missed_classic,
            a_static_member_that_takes_no_records_is_missed_consumer,
        });
    };
}
