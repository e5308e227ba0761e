//! Whose account a pod acts under.
//!
//! In: the uid of a pod. Out: the name of its service account, from the token that the kubelet keeps for it on the node.
//! Only the middle part of the token is decoded, the one that says for whom it was made; its signature is not, and
//! nothing of it is kept. Whoever writes a pod can put files beside the kubelet's, so a token counts only if it was made
//! for this pod, and if two name different accounts none does.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// Longest token that is read: they have one to two KB.
const TOKEN_BYTES: u64 = 16 << 10;

/// Volumes of a pod looked at.
const VOLUMES: usize = 64;

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    pod: Named,
    serviceaccount: Named,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    uid: String,
}

/// The service account of the pod with this uid, if one token says so and none says otherwise.
pub(super) fn of_pod(root: &Path, pod_uid: &str) -> Option<String> {
    // It becomes part of a path.
    if pod_uid.is_empty() || !pod_uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return None;
    }
    let pods = root.join("var/lib/kubelet/pods").join(pod_uid);
    let mut found: Option<String> = None;
    for volume in fs::read_dir(pods.join("volumes/kubernetes.io~projected")).ok()?.take(VOLUMES) {
        let Some(claims) = claims(&volume.ok()?.path().join("token")) else { continue };
        if claims.pod.uid != pod_uid {
            continue;
        }
        let name = claims.serviceaccount.name;
        if found.as_ref().is_some_and(|known| *known != name) {
            return None;
        }
        found = Some(name);
    }
    found
}

fn claims(path: &Path) -> Option<Kubernetes> {
    let mut token = Vec::new();
    File::open(path).ok()?.take(TOKEN_BYTES).read_to_end(&mut token).ok()?;
    let middle = token.split(|byte| *byte == b'.').nth(1)?;
    let decoded = URL_SAFE_NO_PAD.decode(middle).ok()?;
    serde_json::from_slice::<Claims>(&decoded).ok().map(|claims| claims.kubernetes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "0a1b-2c";

    fn account(volumes: &[(&str, &str, &str)]) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        let projected = root
            .path()
            .join("var/lib/kubelet/pods")
            .join(POD)
            .join("volumes/kubernetes.io~projected");
        for (volume, pod, account) in volumes {
            fs::create_dir_all(projected.join(volume)).unwrap();
            let claims = format!(
                r#"{{"sub":"x","kubernetes.io":{{"namespace":"shop","pod":{{"name":"p","uid":"{pod}"}},"serviceaccount":{{"name":"{account}","uid":"s"}}}}}}"#
            );
            let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
            fs::write(projected.join(volume).join("token"), token).unwrap();
        }
        of_pod(root.path(), POD)
    }

    #[test]
    fn the_token_of_the_pod_names_its_account() {
        assert_eq!(account(&[("kube-api-access-x", POD, "web")]).as_deref(), Some("web"));
        let same = [("kube-api-access-x", POD, "web"), ("vault", POD, "web")];
        assert_eq!(account(&same).as_deref(), Some("web"));
    }

    #[test]
    fn a_token_of_another_pod_or_one_that_disagrees_names_none() {
        assert_eq!(account(&[]), None);
        assert_eq!(account(&[("kube-api-access-x", "ff", "web")]), None);
        let two = [("kube-api-access-x", POD, "web"), ("own", POD, "admin")];
        assert_eq!(account(&two), None);
    }

    #[test]
    fn what_is_no_token_or_no_uid_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("var/lib/kubelet/pods/aa/volumes/kubernetes.io~projected/v");
        fs::create_dir_all(&volume).unwrap();
        for text in ["", "a", "a.b.c", "a.e30.c", "a.!!.c"] {
            fs::write(volume.join("token"), text).unwrap();
            assert_eq!(of_pod(root.path(), "aa"), None, "{text}");
        }
        assert_eq!(of_pod(root.path(), "../aa"), None);
        assert_eq!(of_pod(root.path(), ""), None);
    }
}
