//! What `cargo xtask mutants` is asked for.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Mutant;

const USAGE: &str = "usage: cargo xtask mutants [--sample N] [--seed S] [--only TEXT] [--jobs N] [--list]
  --sample N  tries N of them; which ones depends on the seed and on each of them alone
  --seed S    0 unless told
  --only TEXT only those whose file, function or kind has this in it";

#[derive(Debug)]
pub(super) struct Options {
    sample: Option<usize>,
    seed: u64,
    only: Option<String>,
    pub(super) jobs: usize,
    pub(super) list: bool,
}

impl Options {
    pub(super) fn parse(args: &[String]) -> Result<Options, String> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Options { sample: None, seed: 0, only: None, jobs, list: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
            let number =
                |text: &String| text.parse::<u64>().map_err(|_| format!("{text} is no number\n{USAGE}"));
            match &**arg {
                "--sample" => options.sample = usize::try_from(number(value()?)?).ok(),
                "--seed" => options.seed = number(value()?)?,
                "--jobs" => options.jobs = usize::try_from(number(value()?)?).unwrap_or(1),
                "--only" => options.only = Some(value()?.clone()),
                "--list" => options.list = true,
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }

    /// Keeps those that are asked for. Of a sample half as many more, as some will not compile.
    pub(super) fn choose(&self, mutants: &mut Vec<Mutant>) {
        if let Some(only) = &self.only {
            mutants.retain(|mutant| mutant.to_string().contains(only.as_str()));
        }
        if let Some(sample) = self.sample {
            self.cut(mutants, sample + sample / 2, |mutant| mutant);
        }
    }

    /// Keeps as many as are asked for.
    pub(super) fn trim(&self, mutants: &mut Vec<&(u32, Mutant)>) {
        if let Some(sample) = self.sample {
            self.cut(mutants, sample, |(_, mutant)| mutant);
        }
    }

    /// Keeps some, in the order in which they are.
    fn cut<T>(&self, all: &mut Vec<T>, most: usize, mutant: impl Fn(&T) -> &Mutant) {
        let rank = |one: &T| {
            let mutant = mutant(one);
            let mut hasher = DefaultHasher::new();
            (self.seed, &mutant.file, &mutant.function, mutant.kind, &mutant.text).hash(&mut hasher);
            hasher.finish()
        };
        let mut ranks: Vec<u64> = all.iter().map(rank).collect();
        ranks.sort_unstable();
        if let Some(limit) = ranks.get(most) {
            all.retain(|one| rank(one) < *limit);
        }
    }
}
