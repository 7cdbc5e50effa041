//! What a broker supports, and what both sides can speak.

use litemap::LiteMap;
use std::ops::RangeInclusive;

use kavka_wire::ApiKey;
use kavka_wire::messages::ApiVersionsResponse;

use crate::error::{Error, ErrorKind, Peer, Result};

/// The answer to ApiVersions (KIP-35): version ranges by API, and the cluster's features (KIP-584).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    apis: LiteMap<ApiKey, (i16, i16)>,
    features: Features,
}

/// Finalized features of the cluster. Of several answers the one with the highest epoch counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// Epoch of the finalized features; -1 when the broker told none.
    pub epoch: i64,
    /// By name: `metadata.version`, `group.version` (1: KIP-848), `transaction.version` (2: KIP-890), ...
    pub finalized: LiteMap<String, Feature>,
}

/// The finalized levels of one feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feature {
    /// Lowest level in use.
    pub min: i16,
    /// Highest level in use.
    pub max: i16,
}

impl Default for Features {
    fn default() -> Self {
        Features { epoch: -1, finalized: LiteMap::new() }
    }
}

impl Features {
    /// The finalized level of a feature; 0 when it is not in use or not known.
    pub fn level(&self, name: &str) -> i16 {
        self.finalized.get(name).map_or(0, |feature| feature.max)
    }
}

impl Versions {
    pub(crate) fn new(answer: &ApiVersionsResponse) -> Self {
        let apis = answer
            .api_keys
            .iter()
            .filter(|api| api.min_version <= api.max_version)
            .map(|api| (ApiKey(api.api_key), (api.min_version, api.max_version)))
            .collect();
        let finalized = answer
            .finalized_features
            .iter()
            .map(|f| (f.name.to_string(), Feature { min: f.min_version_level, max: f.max_version_level }))
            .collect();
        Versions { apis, features: Features { epoch: answer.finalized_features_epoch, finalized } }
    }

    /// The versions of an API that the broker supports; `None` when it does not know the API.
    pub fn range(&self, key: ApiKey) -> Option<RangeInclusive<i16>> {
        self.apis.get(&key).map(|(min, max)| *min..=*max)
    }

    /// Whether the broker supports this version of the API.
    pub fn supports(&self, key: ApiKey, version: i16) -> bool {
        self.range(key).is_some_and(|range| range.contains(&version))
    }

    /// The cluster's features as this broker told them.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The highest version of an API within our range, the broker's and `wanted`.
    pub(crate) fn choose(
        &self,
        api: ApiKey,
        ours: RangeInclusive<i16>,
        wanted: RangeInclusive<i16>,
        peer: &Peer,
    ) -> Result<i16> {
        let (min, max) = (*ours.start().max(wanted.start()), *ours.end().min(wanted.end()));
        let Some((theirs_min, theirs_max)) = self.apis.get(&api) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the broker does not know the API {api}"),
            )
            .at(peer)
            .remedy("it is too old or has the feature turned off"));
        };
        let version = max.min(*theirs_max);
        if version >= min.max(*theirs_min) {
            return Ok(version);
        }
        let remedy = if *theirs_max < min {
            "the broker is too old for what was asked"
        } else {
            "the broker is too new for this client, or a version was capped too low"
        };
        let what = format!(
            "no common version of {api}: versions {min} to {max} are possible here, {theirs_min} to {theirs_max} there"
        );
        Err(Error::new(ErrorKind::Unsupported, what).at(peer).remedy(remedy))
    }
}

#[cfg(test)]
mod tests {
    use kavka_wire::codec::Request;
    use kavka_wire::messages::{FetchRequest, ProduceRequest, api_versions};

    use super::*;

    fn versions(ranges: &[(i16, i16, i16)]) -> Versions {
        let api_keys = ranges
            .iter()
            .map(|&(api_key, min_version, max_version)| api_versions::ApiVersion {
                api_key,
                min_version,
                max_version,
                ..Default::default()
            })
            .collect();
        Versions::new(&ApiVersionsResponse { api_keys, ..Default::default() })
    }

    fn choose<R: Request>(versions: &Versions, wanted: RangeInclusive<i16>, peer: &Peer) -> Result<i16> {
        versions.choose(R::KEY, R::VERSIONS, wanted, peer)
    }

    #[test]
    fn takes_the_highest_version_within_all_three_ranges() {
        let peer = Peer::new(1, "a", 9092);
        let versions = versions(&[(1, 4, 13), (0, 0, 3)]);
        assert_eq!(choose::<FetchRequest>(&versions, 0..=i16::MAX, &peer).unwrap(), 13);
        assert_eq!(choose::<FetchRequest>(&versions, 0..=12, &peer).unwrap(), 12);
        assert!(versions.supports(ApiKey::FETCH, 4) && !versions.supports(ApiKey::FETCH, 3));
        assert!(!versions.supports(ApiKey::METADATA, 0));
    }

    #[test]
    fn says_which_ranges_do_not_meet() {
        let peer = Peer::new(1, "a", 9092);
        let versions = versions(&[(1, 4, 13), (0, 0, 2)]);
        let old = choose::<ProduceRequest>(&versions, 0..=i16::MAX, &peer).unwrap_err();
        assert_eq!(old.kind(), ErrorKind::Unsupported);
        let text = old.to_string();
        assert!(text.contains("Produce") && text.contains("0 to 2") && text.contains("too old"), "{text}");
        assert!(
            choose::<FetchRequest>(&versions, 14..=17, &peer).unwrap_err().to_string().contains("14 to 17")
        );
        let unknown = choose::<kavka_wire::messages::MetadataRequest>(&versions, 0..=13, &peer).unwrap_err();
        assert!(
            unknown.to_string().contains("Metadata") && unknown.to_string().contains("broker 1 (a:9092)")
        );
    }
}
