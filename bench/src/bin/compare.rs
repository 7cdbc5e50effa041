//! Runs programs of this package in turn, several rounds, and prints medians and ratios.
//!
//!     compare [--rounds N] [--by NAME] BOOTSTRAP TOPIC COUNT -- PROGRAM PROGRAM ...

use std::process::Command;

use kavka_bench::Report;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str, default: &str| match args.iter().position(|a| a == name) {
        Some(at) => {
            args.remove(at);
            args.remove(at)
        }
        None => default.to_owned(),
    };
    let rounds: usize = option("--rounds", "5").parse().expect("--rounds takes a number");
    let by = option("--by", "");
    let split = args.iter().position(|a| a == "--").expect("programs follow `--`");
    let (common, programs) = (&args[..split], &args[split + 1..]);
    let folder = std::env::current_exe().expect("this program has a path").with_file_name("");
    let mut reports: Vec<Vec<Report>> = vec![Vec::new(); programs.len()];
    for round in 0..rounds {
        for (program, reports) in programs.iter().zip(&mut reports) {
            let output =
                Command::new(folder.join(program)).args(common).output().expect("the program starts");
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            let line = String::from_utf8_lossy(&output.stdout);
            let report: Report = serde_json::from_str(line.trim()).expect("the program prints a report");
            eprintln!("round {}: {line}", round + 1);
            reports.push(report);
        }
    }
    let base = reports.iter().find(|r| r[0].name == by).or(reports.first()).expect("a program");
    let base = median(base, |r| r.cpu_ns_per_record);
    println!(
        "| client | M records/s | CPU ns/record (min-max) | CPU ratio | RSS MiB | allocations/record | first record ms | p50, p99, max ms |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for runs in &reports {
        let cpu = median(runs, |r| r.cpu_ns_per_record);
        let (low, high) = runs.iter().fold((f64::MAX, 0f64), |(low, high), r| {
            (low.min(r.cpu_ns_per_record), high.max(r.cpu_ns_per_record))
        });
        let speed = median(runs, |r| r.records as f64 / r.wall_seconds / 1e6);
        let rss = median(runs, |r| r.rss_mib);
        let allocations = match runs[0].allocations_per_record {
            Some(_) => format!("{:.4}", median(runs, |r| r.allocations_per_record.unwrap_or_default())),
            None => String::new(),
        };
        let first = match runs[0].first_record_ms {
            Some(_) => format!("{:.0}", median(runs, |r| r.first_record_ms.unwrap_or_default())),
            None => String::new(),
        };
        let latency = match runs[0].latency_ms {
            Some(_) => [0, 1, 2]
                .map(|i| format!("{:.2}", median(runs, |r| r.latency_ms.map_or(0.0, |l| l[i]))))
                .join(", "),
            None => String::new(),
        };
        println!(
            "| {} | {speed:.2} | {cpu:.0} ({low:.0}-{high:.0}) | {:.2} | {rss:.0} | {allocations} | {first} | {latency} |",
            runs[0].name,
            cpu / base
        );
    }
}

fn median(runs: &[Report], figure: impl Fn(&Report) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
