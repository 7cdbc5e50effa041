//! `cargo xtask specs [--against JAR]`: compares our specifications with the schemas inside a `kafka-clients` jar, by default the
//! one of the release that they describe.

mod compare;
mod schema;

use std::path::Path;

use crate::codegen;
use crate::kafka::libs::Libs;
use crate::kafka::target_dir;

/// Compares and fails on any difference.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let jar = match args {
        [] => {
            let libs = Libs::new(&target_dir(root), RELEASE)?;
            libs.jars().join(format!("kafka-clients-{RELEASE}.jar"))
        }
        [flag, jar] if flag == "--against" => jar.into(),
        _ => return Err("usage: cargo xtask specs [--against KAFKA_CLIENTS_JAR]".to_owned()),
    };
    let schemas = schema::read_jar(&jar)?;
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

/// The Kafka release that `protocol-specs/` describes.
const RELEASE: &str = "4.4.0";
