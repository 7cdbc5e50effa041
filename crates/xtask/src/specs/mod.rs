//! `cargo xtask specs --against JAR`: compares our specifications with the schemas inside a `kafka-clients` jar.

mod compare;
mod schema;

use std::path::Path;

use crate::codegen;

/// Compares and fails on any difference.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let [flag, jar] = args else { return Err(USAGE.to_owned()) };
    if flag != "--against" {
        return Err(USAGE.to_owned());
    }
    let schemas = schema::read_jar(Path::new(jar))?;
    let (apis, data) = codegen::specs(root)?;
    let mut differences = Vec::new();
    let mut fields = 0;
    for spec in apis.iter().chain(&data) {
        for message in &spec.messages {
            match schemas.get(message.name()) {
                Some(schema) => fields += compare::message(spec, message, schema, &mut differences),
                None => differences.push(format!("{}: not in the jar", message.name())),
            }
        }
    }
    for difference in &differences {
        println!("{difference}");
    }
    match differences.is_empty() {
        true => {
            println!("{} specifications, {fields} fields: no difference", apis.len() + data.len());
            Ok(())
        }
        false => Err(format!("{} differences", differences.len())),
    }
}

const USAGE: &str = "usage: cargo xtask specs --against KAFKA_CLIENTS_JAR";
