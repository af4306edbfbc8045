//! Reflection: a port describes what it serves, which are the services' own packages and what their files import.
//!
//! Files are answered in the bytes they have, since a round trip through `prost-types` would lose our options. An unknown
//! name is answered by the protocol's own error, after which the stream goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use communal_proto::FILE_DESCRIPTOR_SET;
use futures::stream::{BoxStream, StreamExt as _};
use prost::Message as _;
use prost::encoding::decode_varint;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use tonic::{Code, Request, Response, Status, Streaming};

/// The tag of a file in a set of descriptors.
const FILE: u8 = 0x0a;
/// The services of reflection itself.
pub(super) const NAMES: [&str; 2] = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
/// The longest name that an error repeats, in characters.
const LONGEST_NAME: usize = 100;

/// What a port describes, by the questions that are asked about it.
#[derive(Debug, Default)]
pub(super) struct Described {
    services: Vec<String>,
    /// The files by their names.
    files: HashMap<String, Bytes>,
    /// The file of each symbol, by full names.
    symbols: HashMap<String, String>,
    /// The file of each extension, by the extended message and the number.
    extensions: HashMap<String, BTreeMap<i32, String>>,
}

impl Described {
    /// Describes services, by their full names. Error details are described as well, so that grpcurl can print them.
    pub(super) fn new(services: &[&str]) -> Self {
        let mut described =
            Self { services: services.iter().map(|name| (*name).to_owned()).collect(), ..Self::default() };
        described.services.sort();
        for (file, bytes) in served(services) {
            described.add(&file, bytes);
        }
        for set in [
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_types::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            for (file, bytes) in files(set) {
                described.add(&file, bytes);
            }
        }
        described
    }

    fn add(&mut self, file: &FileDescriptorProto, bytes: &[u8]) {
        if self.files.insert(file.name().to_owned(), Bytes::copy_from_slice(bytes)).is_some() {
            return;
        }
        let mut symbols = Vec::new();
        let package = file.package();
        for message in &file.message_type {
            self.add_message(package, message, file.name(), &mut symbols);
        }
        for values in &file.enum_type {
            add_enum(package, values, &mut symbols);
        }
        self.add_extensions(package, &file.extension, file.name(), &mut symbols);
        for service in &file.service {
            let name = within(package, service.name());
            symbols.extend(service.method.iter().map(|method| within(&name, method.name())));
            symbols.push(name);
        }
        self.symbols.extend(symbols.into_iter().map(|symbol| (symbol, file.name().to_owned())));
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto, file: &str, symbols: &mut Vec<String>) {
        let name = within(scope, message.name());
        symbols.extend(message.field.iter().map(|field| within(&name, field.name())));
        symbols.extend(message.oneof_decl.iter().map(|oneof| within(&name, oneof.name())));
        for nested in &message.nested_type {
            self.add_message(&name, nested, file, symbols);
        }
        for values in &message.enum_type {
            add_enum(&name, values, symbols);
        }
        self.add_extensions(&name, &message.extension, file, symbols);
        symbols.push(name);
    }

    fn add_extensions(
        &mut self,
        scope: &str,
        extensions: &[FieldDescriptorProto],
        file: &str,
        symbols: &mut Vec<String>,
    ) {
        for extension in extensions {
            let extended = extension.extendee().trim_start_matches('.').to_owned();
            self.extensions.entry(extended).or_default().insert(extension.number(), file.to_owned());
            symbols.push(within(scope, extension.name()));
        }
    }

    fn file(&self, name: &str) -> Result<Bytes, Unknown> {
        self.files.get(name).cloned().ok_or_else(|| unknown("file", name))
    }

    fn file_of_symbol(&self, symbol: &str) -> Result<Bytes, Unknown> {
        self.symbols.get(symbol).and_then(|file| self.files.get(file)).cloned().ok_or_else(|| unknown("symbol", symbol))
    }

    fn file_of_extension(&self, extended: &str, number: i32) -> Result<Bytes, Unknown> {
        let file = self.extensions.get(extended).and_then(|numbers| numbers.get(&number));
        file.and_then(|file| self.files.get(file))
            .cloned()
            .ok_or_else(|| unknown("message with this extension", extended))
    }

    /// The numbers of a message's extensions; none for a message that has none.
    fn extension_numbers(&self, extended: &str) -> Result<Vec<i32>, Unknown> {
        match self.extensions.get(extended) {
            Some(numbers) => Ok(numbers.keys().copied().collect()),
            None if self.symbols.contains_key(extended) => Ok(Vec::new()),
            None => Err(unknown("message", extended)),
        }
    }
}

/// The text of the protocol's error.
#[derive(Debug)]
struct Unknown(String);

fn unknown(kind: &str, name: &str) -> Unknown {
    Unknown(format!("this port describes no {kind} {}", name.chars().take(LONGEST_NAME).collect::<String>()))
}

fn within(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// Adds an enum and its values, whose scope is that around the enum.
fn add_enum(scope: &str, values: &EnumDescriptorProto, symbols: &mut Vec<String>) {
    symbols.push(within(scope, values.name()));
    symbols.extend(values.value.iter().map(|value| within(scope, value.name())));
}

/// The files of services, and those that they import, with their bytes.
fn served(services: &[&str]) -> Vec<(FileDescriptorProto, &'static [u8])> {
    let packages: BTreeSet<_> = services.iter().filter_map(|name| name.rsplit_once('.')).map(|(p, _)| p).collect();
    let mut all: BTreeMap<String, _> =
        files(FILE_DESCRIPTOR_SET).map(|(file, bytes)| (file.name().to_owned(), (file, bytes))).collect();
    let own = all.values().filter(|(file, _)| packages.contains(file.package()));
    let mut wanted: Vec<_> = own.map(|(file, _)| file.name().to_owned()).collect();
    let mut served = Vec::new();
    while let Some(name) = wanted.pop() {
        let Some((file, bytes)) = all.remove(&name) else { continue };
        wanted.extend(file.dependency.iter().cloned());
        served.push((file, bytes));
    }
    served
}

/// The files of an encoded set, with their bytes.
fn files(mut set: &[u8]) -> impl Iterator<Item = (FileDescriptorProto, &[u8])> {
    std::iter::from_fn(move || {
        set = set.strip_prefix(&[FILE])?;
        let length = usize::try_from(decode_varint(&mut set).ok()?).ok()?;
        let (file, rest) = set.split_at_checked(length)?;
        set = rest;
        Some((FileDescriptorProto::decode(file).ok()?, file))
    })
}

/// The service of one version of the protocol. Their messages are the same and have different names.
macro_rules! reflection {
    ($version:ident) => {
        pub(super) mod $version {
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version::server_reflection_server::{ServerReflection, ServerReflectionServer};
            use tonic_reflection::pb::$version::{
                ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
                ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
            };

            use super::*;

            /// The service.
            pub(in crate::server) fn service(
                described: &Arc<Described>,
            ) -> ServerReflectionServer<impl ServerReflection> {
                ServerReflectionServer::new(Reflection(Arc::clone(described)))
            }

            #[derive(Debug)]
            pub(super) struct Reflection(pub(super) Arc<Described>);

            #[tonic::async_trait]
            impl ServerReflection for Reflection {
                type ServerReflectionInfoStream = BoxStream<'static, Result<ServerReflectionResponse, Status>>;

                async fn server_reflection_info(
                    &self,
                    request: Request<Streaming<ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                    let described = Arc::clone(&self.0);
                    let answers = request.into_inner().map(move |question| question.map(|q| answer(&described, q)));
                    Ok(Response::new(answers.boxed()))
                }
            }

            pub(super) fn answer(described: &Described, question: ServerReflectionRequest) -> ServerReflectionResponse {
                let file = |file: Result<Bytes, Unknown>| {
                    file.map(|file| FileDescriptorResponse { file_descriptor_proto: vec![file.to_vec()] })
                        .map(MessageResponse::FileDescriptorResponse)
                };
                let answer = match &question.message_request {
                    None => Err((Code::InvalidArgument, Unknown("the request asks nothing".into()))),
                    Some(MessageRequest::FileByFilename(name)) => not_found(file(described.file(name))),
                    Some(MessageRequest::FileContainingSymbol(name)) => not_found(file(described.file_of_symbol(name))),
                    Some(MessageRequest::FileContainingExtension(extension)) => {
                        let (extended, number) = (&extension.containing_type, extension.extension_number);
                        not_found(file(described.file_of_extension(extended, number)))
                    }
                    Some(MessageRequest::AllExtensionNumbersOfType(extended)) => {
                        not_found(described.extension_numbers(extended).map(|extension_number| {
                            let base_type_name = extended.clone();
                            MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                                base_type_name,
                                extension_number,
                            })
                        }))
                    }
                    Some(MessageRequest::ListServices(_)) => {
                        let service = described.services.iter().map(|name| ServiceResponse { name: name.clone() });
                        Ok(MessageResponse::ListServicesResponse(ListServiceResponse { service: service.collect() }))
                    }
                };
                let answer = answer.unwrap_or_else(|(code, Unknown(error_message))| {
                    MessageResponse::ErrorResponse(ErrorResponse { error_code: code.into(), error_message })
                });
                ServerReflectionResponse {
                    valid_host: question.host.clone(),
                    original_request: Some(question),
                    message_response: Some(answer),
                }
            }

            fn not_found<T>(found: Result<T, Unknown>) -> Result<T, (Code, Unknown)> {
                found.map_err(|unknown| (Code::NotFound, unknown))
            }
        }
    };
}

reflection!(v1);
reflection!(v1alpha);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost_types::FileDescriptorSet;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ExtensionRequest, ServerReflectionRequest};

    use super::*;

    const SERVED: [&str; 2] = ["communal.billing.v1.PackageService", "grpc.health.v1.Health"];

    fn ask(question: MessageRequest) -> MessageResponse {
        let question = ServerReflectionRequest { message_request: Some(question), ..Default::default() };
        v1::answer(&Described::new(&SERVED), question).message_response.unwrap()
    }

    fn file(answer: MessageResponse) -> Bytes {
        let MessageResponse::FileDescriptorResponse(file) = answer else { panic!("{answer:?}") };
        file.file_descriptor_proto[0].clone().into()
    }

    #[test]
    fn a_service_describes_its_own_package_and_what_that_imports() {
        let served = served(&SERVED);
        let services: Vec<_> = served.iter().flat_map(|(f, _)| &f.service).map(|s| s.name().to_owned()).collect();
        assert!(services.contains(&"PackageService".to_owned()), "{services:?}");
        let packages: BTreeSet<_> = served.iter().map(|(file, _)| file.package()).collect();
        assert!(packages.contains("communal.contract.v1") && !packages.contains("communal.community.v1"));
        assert!(!packages.contains("communal.identity.v1"), "{packages:?}");
        let all = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        assert_eq!(files(FILE_DESCRIPTOR_SET).count(), all.file.len());
    }

    #[test]
    fn services_are_those_that_the_port_serves() {
        let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices(String::new())) else {
            panic!()
        };
        assert_eq!(list.service.into_iter().map(|service| service.name).collect::<Vec<_>>(), SERVED);
    }

    #[test]
    fn a_symbol_of_any_kind_leads_to_its_file() {
        for symbol in [
            "communal.billing.v1.PackageService",
            "communal.billing.v1.PackageService.AddSalePackage",
            "communal.billing.v1.AddSalePackageRequest",
            "communal.billing.v1.SalePackageStart.package_id",
            "communal.billing.v1.NETWORK_TYPE_WATER",
            "communal.contract.v1.field",
            "google.rpc.ErrorInfo",
            "google.protobuf.FieldOptions",
            "grpc.reflection.v1.ServerReflection",
        ] {
            file(ask(MessageRequest::FileContainingSymbol(symbol.into())));
        }
    }

    #[test]
    fn options_are_described_and_found_by_their_numbers() {
        let of_options = "google.protobuf.FieldOptions";
        let MessageResponse::AllExtensionNumbersResponse(numbers) =
            ask(MessageRequest::AllExtensionNumbersOfType(of_options.into()))
        else {
            panic!()
        };
        assert_eq!(numbers.extension_number, [412_870_001]);
        let extension = ExtensionRequest { containing_type: of_options.into(), extension_number: 412_870_001 };
        let contract = file(ask(MessageRequest::FileContainingExtension(extension)));
        assert_eq!(FileDescriptorProto::decode(contract).unwrap().name(), "communal/contract/v1/contract.proto");
        // What is answered has the options of its fields: the title of one, which is in no descriptor's own field.
        let books = file(ask(MessageRequest::FileByFilename("communal/billing/v1/books.proto".into())));
        let title = "抄表区段名称".as_bytes();
        assert!(books.windows(title.len()).any(|bytes| bytes == title));
    }

    #[test]
    fn what_is_unknown_is_answered_by_an_error_of_the_protocol() {
        for question in [
            MessageRequest::FileContainingSymbol("communal.community.v1.FeeService".into()),
            MessageRequest::FileByFilename("x.proto".into()),
            MessageRequest::AllExtensionNumbersOfType("x.Y".into()),
            MessageRequest::FileContainingExtension(ExtensionRequest::default()),
        ] {
            let MessageResponse::ErrorResponse(error) = ask(question) else { panic!() };
            assert_eq!(error.error_code, i32::from(Code::NotFound));
        }
    }
}
