//! The assignors beside Kafka's own, by what those answered (protocol-specs/vectors/assignors.txt).

use std::path::Path;

use crate::assignor_lines::answer;

#[test]
fn all_assignors_answer_as_kafkas_own_do() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol-specs/vectors/assignors.txt");
    let cases = std::fs::read_to_string(file).unwrap();
    for case in cases.lines() {
        let (asked, expected) = case.rsplit_once('\t').unwrap();
        assert_eq!(answer(asked).unwrap(), expected, "{asked}");
    }
    for assignor in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        let count = cases.lines().filter(|case| case.starts_with(&format!("{assignor}\t"))).count();
        assert!(count > 100, "only {count} cases of {assignor}");
    }
}
