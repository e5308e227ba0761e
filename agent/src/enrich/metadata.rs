//! Names of containers and pods, from what runtimes and the kubelet keep in files.
//!
//! In: a container's id, as its cgroup's path names it. Out: [`Metadata`], or nothing yet. Read are the OCI bundle
//! of containerd and k3s and of CRI-O and Podman (its annotations), Docker's `config.v2.json`, the list of
//! containers/storage, the kubelet's links in `/var/log/containers`, whose names hold pod, namespace, container and
//! id, and of the tokens that the kubelet keeps for pods the part that says whose they are ([`super::account`]). Nothing is asked over a socket, so there is nothing that could hang. These files belong to root; what is in them
//! was often chosen by whoever starts containers, so it is text like any other and is never a path.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::account;

/// What a container and its pod are called. Empty: not known, or it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Name of the container.
    pub name: String,
    /// Image as it was asked for, such as `registry.example/web:1.4`.
    pub image: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub pod_uid: String,
    /// Labels of the pod, each as `key=value`. `None`: no file says. CRI-O's does.
    pub labels: Option<Vec<String>>,
    /// Service account of the pod.
    pub service_account: String,
    /// It was started with all privileges. `None`: no file says.
    pub privileged: Option<bool>,
}

impl Metadata {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Fills what is not known yet from what another source says.
    fn fill(&mut self, other: Self) {
        let fields = [
            (&mut self.name, other.name),
            (&mut self.image, other.image),
            (&mut self.namespace, other.namespace),
            (&mut self.pod, other.pod),
            (&mut self.pod_uid, other.pod_uid),
            (&mut self.service_account, other.service_account),
        ];
        for (known, said) in fields {
            if known.is_empty() {
                *known = said;
            }
        }
        if self.labels.is_none() {
            self.labels = other.labels;
        }
        self.privileged = self.privileged.or(other.privileged);
    }
}

/// Longest file that is read: a bundle's configuration has some 20 KB, the list of containers/storage grows with them.
const FILE_BYTES: u64 = 4 << 20;

/// Longest name or image that is believed.
const NAME_BYTES: usize = 1_024;

/// Entries of `/var/log/containers` looked at: a node has a few hundred.
const LINKS: usize = 16_384;

/// Where containerd keeps bundles, below the root: `NAMESPACE/ID/config.json`.
const CONTAINERD: [&str; 2] = [
    "run/containerd/io.containerd.runtime.v2.task",
    "run/k3s/containerd/io.containerd.runtime.v2.task",
];

/// Where containers/storage (CRI-O, Podman) keeps bundles: `ID/userdata/config.json`.
const STORAGE_RUN: &str = "run/containers/storage/overlay-containers";

/// Its list of containers.
const STORAGE_LIST: &str = "var/lib/containers/storage/overlay-containers/containers.json";

/// Where Docker keeps containers: `ID/config.v2.json`.
const DOCKER: &str = "var/lib/docker/containers";

/// The kubelet's links.
const LINKS_FOLDER: &str = "var/log/containers";

/// The files of runtimes on this host.
#[derive(Clone, Debug)]
pub struct RuntimeFiles {
    root: PathBuf,
}

impl RuntimeFiles {
    /// `root` is the host's root folder, as this process sees it.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// What is known about the container of that id. `None`: nothing, as yet.
    pub fn find(&self, id: &str) -> Option<Metadata> {
        // The id becomes part of paths: hexadecimal digits, or nothing is looked for.
        if id.len() < 12 || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut found = Metadata::default();
        if let Some(bundle) = self.bundle(id) {
            found.fill(bundle);
        }
        if let Some(docker) = self.docker(id) {
            found.fill(docker);
        }
        if found.image.is_empty()
            && let Some(listed) = self.listed(id)
        {
            found.fill(listed);
        }
        if found.pod.is_empty()
            && let Some(link) = self.link(id)
        {
            found.fill(link);
        }
        found.service_account =
            clean(account::of_pod(&self.root, &found.pod_uid).filter(|name| !name.is_empty()));
        (!found.is_empty()).then_some(found)
    }

    /// The annotations of an OCI bundle.
    fn bundle(&self, id: &str) -> Option<Metadata> {
        for folder in CONTAINERD {
            // One folder per namespace of containerd: `k8s.io`, `moby`, `default`.
            let Ok(namespaces) = fs::read_dir(self.root.join(folder)) else { continue };
            for namespace in namespaces.filter_map(Result::ok) {
                if let Some(bundle) = read::<Bundle>(&namespace.path().join(id).join("config.json"))
                {
                    return Some(bundle.metadata());
                }
            }
        }
        let stored = |id: &str| {
            read::<Bundle>(&self.root.join(STORAGE_RUN).join(id).join("userdata/config.json"))
        };
        let bundle = stored(id)?;
        // The labels of the pod are noted with its sandbox.
        let sandbox = bundle.annotations.get("io.kubernetes.cri-o.SandboxID");
        let sandbox = sandbox.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let labels = sandbox.and_then(|id| stored(id)).and_then(|sandbox| sandbox.labels());
        Some(Metadata { labels, ..bundle.metadata() })
    }

    fn docker(&self, id: &str) -> Option<Metadata> {
        let known: Docker = read(&self.root.join(DOCKER).join(id).join("config.v2.json"))?;
        let label = |name: &str| clean(known.config.labels.get(name).cloned());
        let named = label("io.kubernetes.container.name");
        let own = clean(known.name.map(|name| name.trim_start_matches('/').to_owned()));
        Some(Metadata {
            name: if named.is_empty() { own } else { named },
            image: clean(known.config.image),
            namespace: label("io.kubernetes.pod.namespace"),
            pod: label("io.kubernetes.pod.name"),
            pod_uid: label("io.kubernetes.pod.uid"),
            ..Metadata::default()
        })
    }

    /// The list of containers/storage, whose entries hold more JSON as text.
    fn listed(&self, id: &str) -> Option<Metadata> {
        let list: Vec<Listed> = read(&self.root.join(STORAGE_LIST))?;
        let entry = list.into_iter().find(|entry| entry.id == id)?;
        let inner: ListedMetadata = serde_json::from_str(&entry.metadata).unwrap_or_default();
        let name = inner.name.or_else(|| entry.names.into_iter().next());
        Some(Metadata { name: clean(name), image: clean(inner.image), ..Metadata::default() })
    }

    /// `POD_NAMESPACE_CONTAINER-ID.log`: none of the three can hold an underscore.
    fn link(&self, id: &str) -> Option<Metadata> {
        let end = format!("-{id}.log");
        for entry in fs::read_dir(self.root.join(LINKS_FOLDER)).ok()?.take(LINKS) {
            let Ok(name) = entry.ok()?.file_name().into_string() else { continue };
            let Some(parts) = name.strip_suffix(&end) else { continue };
            let mut parts = parts.split('_');
            if let (Some(pod), Some(namespace), Some(container), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            {
                return Some(Metadata {
                    name: clean(Some(container.to_owned())),
                    namespace: clean(Some(namespace.to_owned())),
                    pod: clean(Some(pod.to_owned())),
                    ..Metadata::default()
                });
            }
        }
        None
    }
}

/// `config.json` of the OCI runtime specification, as far as it is of use.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    process: Option<BundleProcess>,
    #[serde(default)]
    linux: Option<BundleLinux>,
}

#[derive(Deserialize)]
struct BundleProcess {
    #[serde(default)]
    capabilities: Option<BundleCapabilities>,
}

#[derive(Deserialize)]
struct BundleCapabilities {
    #[serde(default)]
    bounding: Vec<String>,
}

#[derive(Deserialize)]
struct BundleLinux {
    #[serde(default, rename = "maskedPaths")]
    masked_paths: Option<Vec<String>>,
}

/// What no runtime gives a container unless it is given everything, or asked for each by name.
const ALL_PRIVILEGES: [&str; 3] = ["CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"];

impl Bundle {
    /// Whether it was started with all privileges, if that can be seen.
    fn privileged(&self) -> Option<bool> {
        let bounding = &self.process.as_ref()?.capabilities.as_ref()?.bounding;
        let masked = self.linux.as_ref()?.masked_paths.as_ref();
        let all = ALL_PRIVILEGES.iter().all(|name| bounding.iter().any(|held| held == name));
        Some(all && masked.is_none_or(Vec::is_empty))
    }

    /// CRI-O's note of labels.
    fn labels(&self) -> Option<Vec<String>> {
        let noted = self.annotations.get("io.kubernetes.cri-o.Labels")?;
        let labels: BTreeMap<String, String> = serde_json::from_str(noted).ok()?;
        let label = |(key, value)| clean(Some(format!("{key}={value}")));
        Some(labels.into_iter().map(label).filter(|label| !label.is_empty()).collect())
    }

    fn metadata(&self) -> Metadata {
        let first = |names: &[&str]| {
            clean(names.iter().find_map(|name| self.annotations.get(*name)).cloned())
        };
        Metadata {
            name: first(&[
                "io.kubernetes.cri.container-name",
                "io.kubernetes.container.name",
                "nerdctl/name",
            ]),
            image: first(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]),
            namespace: first(&[
                "io.kubernetes.cri.sandbox-namespace",
                "io.kubernetes.pod.namespace",
            ]),
            pod: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
            pod_uid: first(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
            privileged: self.privileged(),
            ..Metadata::default()
        }
    }
}

#[derive(Deserialize)]
struct Docker {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config", default)]
    config: DockerConfig,
}

#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels", default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
struct ListedMetadata {
    #[serde(rename = "container-name", alias = "name")]
    name: Option<String>,
    #[serde(rename = "image-name")]
    image: Option<String>,
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    let taken = File::open(path).ok()?.take(FILE_BYTES + 1).read_to_end(&mut bytes).ok()?;
    // A file that is being written is no JSON yet, and will be looked at again.
    (taken as u64 <= FILE_BYTES).then(|| serde_json::from_slice(&bytes).ok()).flatten()
}

fn clean(text: Option<String>) -> String {
    text.filter(|text| text.len() <= NAME_BYTES).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn found(files: &[(&str, &str)]) -> Option<Metadata> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            write(root.path(), &path.replace("ID", ID), text);
        }
        RuntimeFiles::new(root.path().to_owned()).find(ID)
    }

    fn metadata(parts: [&str; 5]) -> Metadata {
        let [name, image, namespace, pod, pod_uid] = parts.map(str::to_owned);
        Metadata { name, image, namespace, pod, pod_uid, ..Metadata::default() }
    }

    #[test]
    fn containerd_tells_all_in_the_annotations_of_the_bundle() {
        let text = r#"{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri.container-name":"web",
            "io.kubernetes.cri.image-name":"r.example/web:1","io.kubernetes.cri.sandbox-name":"web-7d","io.kubernetes.cri.sandbox-namespace":"shop",
            "io.kubernetes.cri.sandbox-uid":"u-1"}}"#;
        let expected = Some(metadata(["web", "r.example/web:1", "shop", "web-7d", "u-1"]));
        for folder in CONTAINERD {
            let path = format!("{folder}/k8s.io/ID/config.json");
            assert_eq!(found(&[(&path, text)]), expected);
        }
    }

    #[test]
    fn crio_podman_docker_and_the_kubelets_links_are_understood() {
        let crio = r#"{"annotations":{"io.kubernetes.container.name":"c","io.kubernetes.cri-o.ImageName":"i","io.kubernetes.pod.name":"p",
            "io.kubernetes.pod.namespace":"n","io.kubernetes.pod.uid":"u"}}"#;
        let path = "run/containers/storage/overlay-containers/ID/userdata/config.json";
        assert_eq!(found(&[(path, crio)]), Some(metadata(["c", "i", "n", "p", "u"])));
        let list = format!(
            r#"[{{"id":"ff"}},{{"id":"{ID}","names":["web"],"metadata":"{{\"image-name\":\"docker.io/library/nginx:1\",\"name\":\"web\"}}"}}]"#
        );
        assert_eq!(
            found(&[(STORAGE_LIST, &list)]),
            Some(metadata(["web", "docker.io/library/nginx:1", "", "", ""]))
        );
        let docker = r#"{"Name":"/db","Config":{"Image":"postgres:15","Labels":{}}}"#;
        assert_eq!(
            found(&[("var/lib/docker/containers/ID/config.v2.json", docker)]),
            Some(metadata(["db", "postgres:15", "", "", ""]))
        );
        assert_eq!(
            found(&[("var/log/containers/web-7d_shop_web-ID.log", "")]),
            Some(metadata(["web", "", "shop", "web-7d", ""]))
        );
    }

    #[test]
    fn crio_notes_the_labels_of_a_pod_with_its_sandbox() {
        let own = r#"{"annotations":{"io.kubernetes.pod.name":"p","io.kubernetes.cri-o.SandboxID":"ab12"}}"#;
        let sandbox = r#"{"annotations":{"io.kubernetes.cri-o.Labels":"{\"app\":\"web\",\"tier\":\"front\"}"}}"#;
        let folder = "run/containers/storage/overlay-containers";
        let (own_path, sandbox_path) = (
            format!("{folder}/ID/userdata/config.json"),
            format!("{folder}/ab12/userdata/config.json"),
        );
        let known = found(&[(&own_path, own), (&sandbox_path, sandbox)]).unwrap();
        assert_eq!(known.labels, Some(vec!["app=web".to_owned(), "tier=front".to_owned()]));
        assert_eq!(found(&[(&own_path, own)]).unwrap().labels, None);
    }

    #[test]
    fn a_bundle_says_whether_its_container_was_given_everything() {
        let path = "run/containerd/io.containerd.runtime.v2.task/moby/ID/config.json";
        let of = |bounding: &str, linux: &str| {
            let text = format!(
                r#"{{"annotations":{{"nerdctl/name":"x"}},"process":{{"capabilities":{{"bounding":[{bounding}]}}}},"linux":{linux}}}"#
            );
            found(&[(path, &text)]).unwrap().privileged
        };
        let all = r#""CAP_CHOWN","CAP_SYS_ADMIN","CAP_SYS_MODULE","CAP_SYS_RAWIO""#;
        assert_eq!(of(all, "{}"), Some(true));
        assert_eq!(of(all, r#"{"maskedPaths":null}"#), Some(true));
        assert_eq!(of(all, r#"{"maskedPaths":["/proc/kcore"]}"#), Some(false));
        assert_eq!(of(r#""CAP_SYS_ADMIN","CAP_NET_RAW""#, "{}"), Some(false));
        let silent = r#"{"annotations":{"nerdctl/name":"x"}}"#;
        assert_eq!(found(&[(path, silent)]).unwrap().privileged, None);
    }

    #[test]
    fn what_is_not_there_half_written_or_odd_is_not_known() {
        assert_eq!(found(&[]), None);
        let path = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
        assert_eq!(found(&[(path, "{\"annotations\":{\"io.kub")]), None);
        assert_eq!(found(&[("var/log/containers/a_b_c_d-ID.log", "")]), None);
        let files = RuntimeFiles::new("/".into());
        for id in ["", "../../../../etc/shadow", "web1", &"a".repeat(65)] {
            assert_eq!(files.find(id), None, "{id}");
        }
        let long = format!("{{\"Name\":\"/{}\"}}", "x".repeat(2_000));
        assert_eq!(found(&[("var/lib/docker/containers/ID/config.v2.json", &long)]), None);
    }
}
