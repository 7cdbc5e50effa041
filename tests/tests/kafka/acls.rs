//! ACLs for `User:guest`, the principal of a listener of its own. All other clients may do everything.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kavka_net::{CallOptions, Config, Lane, Net, To};
use kavka_tests::denied::{Denied, Gate};
use kavka_tests::target::{self, unique};
use kavka_tests::{Outcome, Target, until};
use kavka_wire::ErrorCode;
use kavka_wire::messages::create_acls::AclCreation;
use kavka_wire::messages::delete_acls::DeleteAclsFilter;
use kavka_wire::messages::metadata::MetadataRequestTopic;
use kavka_wire::messages::{CreateAclsRequest, DeleteAclsRequest, MetadataRequest};

// The numbers of the protocol.
const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
const LITERAL: i8 = 3;
const ANY: i8 = 1;
const ALL: i8 = 2;
const READ: i8 = 3;
const WRITE: i8 = 4;
const CREATE: i8 = 5;
const DESCRIBE: i8 = 8;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

/// A kind of resource and its name.
type Resource = (i8, String);

/// What is denied to the guest, and who sees to it.
pub(crate) struct Acls<'a> {
    owner: &'a Target,
    guest: Target,
    as_owner: Net,
    as_guest: Net,
    touched: Mutex<BTreeSet<Resource>>,
}

impl<'a> Acls<'a> {
    /// `None`, said aloud, where the cluster has no listener for the guest.
    pub(crate) fn new(owner: &'a Target) -> Outcome<Option<Acls<'a>>> {
        let Some(guest) = Target::guest() else {
            eprintln!("skipped: it needs {}; see `cargo xtask kafka test`", target::GUEST_BOOTSTRAP);
            return Ok(None);
        };
        let as_owner = Net::start(Config::new(owner.bootstrap().split(',')))?;
        let as_guest = Net::start(Config::new(guest.bootstrap().split(',')))?;
        Ok(Some(Acls { owner, guest, as_owner, as_guest, touched: Mutex::default() }))
    }

    pub(crate) async fn close(&self) {
        self.as_owner.close().await;
        self.as_guest.close().await;
    }

    /// An ACL on a resource makes everything else on it forbidden to whom none allows it, so all is allowed first.
    async fn create(&self, rules: &[(Resource, i8)]) -> Outcome {
        let resources: BTreeSet<&Resource> = rules.iter().map(|(resource, _)| resource).collect();
        let allowed = resources.iter().map(|resource| acl(resource, "User:*", ALL, ALLOW));
        let denied = rules.iter().map(|(resource, operation)| acl(resource, "User:guest", *operation, DENY));
        let request = CreateAclsRequest { creations: allowed.chain(denied).collect(), ..Default::default() };
        self.touched.lock().unwrap().extend(resources.into_iter().cloned());
        let answer = self.as_owner.call(To::Any, Lane::General, &request, CallOptions::default()).await?;
        for result in answer.results {
            result.error_code.ok().map_err(|code| format!("{code}: {:?}", result.error_message))?;
        }
        Ok(())
    }

    async fn delete(&self, resources: &BTreeSet<Resource>) -> Outcome {
        let filters = resources.iter().map(|(kind, name)| DeleteAclsFilter {
            resource_type_filter: *kind,
            resource_name_filter: Some(name.as_str().into()),
            pattern_type_filter: LITERAL,
            // Not given, they would be empty names, which fit no ACL.
            principal_filter: None,
            host_filter: None,
            operation: ANY,
            permission_type: ANY,
            ..Default::default()
        });
        let request = DeleteAclsRequest { filters: filters.collect(), ..Default::default() };
        let answer = self.as_owner.call(To::Any, Lane::General, &request, CallOptions::default()).await?;
        for result in answer.filter_results {
            result.error_code.ok().map_err(|code| format!("{code}: {:?}", result.error_message))?;
        }
        Ok(())
    }

    /// What every broker tells the guest of a topic that does not exist, which depends on whether he may know that.
    ///
    /// A broker learns of all ACLs of one request at once, so one of them tells of the others.
    async fn all_say(&self, marker: &str, wanted: ErrorCode) -> Outcome {
        let cluster = self.as_guest.refresh(Instant::now() + Duration::from_secs(30)).await?;
        let topic = MetadataRequestTopic { name: Some(marker.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let options = CallOptions { min_version: 4, ..Default::default() };
        for broker in cluster.brokers.keys() {
            let mut said = String::new();
            let agrees = until("every broker knows the ACLs", async || {
                let answer = self.as_guest.call(To::Broker(*broker), Lane::General, &request, options).await;
                said = format!("{answer:?}");
                answer
                    .is_ok_and(|answer| answer.topics.first().is_some_and(|topic| topic.error_code == wanted))
            });
            agrees.await.map_err(|error| format!("{error}; broker {broker} says {said}"))?;
        }
        Ok(())
    }
}

impl Gate for Acls<'_> {
    fn guest(&self) -> &Target {
        &self.guest
    }

    fn owner(&self) -> &Target {
        self.owner
    }

    async fn deny(&self, denied: Denied<'_>) -> Outcome {
        let topic = |name: &str, operation| ((TOPIC, name.to_owned()), operation);
        let mut rules = match denied {
            // Whoever may create topics in the cluster needs no permission for the one.
            Denied::Create(name) => {
                vec![((CLUSTER, "kafka-cluster".to_owned()), CREATE), topic(name, CREATE)]
            }
            Denied::Write(name) => vec![topic(name, WRITE)],
            Denied::Read(name) => vec![topic(name, READ)],
            Denied::Topic(name) => vec![topic(name, READ), topic(name, WRITE), topic(name, DESCRIBE)],
            Denied::Group(name) => vec![((GROUP, name.to_owned()), READ)],
        };
        let marker = unique("marker");
        rules.push(topic(&marker, DESCRIBE));
        self.create(&rules).await?;
        self.all_say(&marker, ErrorCode::TOPIC_AUTHORIZATION_FAILED).await
    }

    async fn allow_all(&self) -> Outcome {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap());
        self.delete(&touched).await?;
        for (kind, name) in touched {
            if kind == TOPIC && name.contains("marker") {
                self.all_say(&name, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).await?;
            }
        }
        Ok(())
    }
}

fn acl((kind, name): &Resource, principal: &str, operation: i8, permission: i8) -> AclCreation {
    AclCreation {
        resource_type: *kind,
        resource_name: name.as_str().into(),
        resource_pattern_type: LITERAL,
        principal: principal.into(),
        host: "*".into(),
        operation,
        permission_type: permission,
        ..Default::default()
    }
}
