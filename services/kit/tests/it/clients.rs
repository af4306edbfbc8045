//! What clients of other languages do and this one does not: compress, ask for what is served elsewhere, look around.

use communal_proto::billing::v1::QuerySalePackageTagsRequest;
use communal_proto::identity::v1::ListChannelsRequest;
use communal_proto::identity::v1::identity_service_client::IdentityServiceClient;
use tokio_stream::StreamExt as _;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

use crate::server::{ADMIN_KEY, Service, credentials};

async fn list(
    service: &Service,
    encodings: (Option<CompressionEncoding>, Option<CompressionEncoding>),
    most: Option<&str>,
) -> Result<Response<usize>, Status> {
    let mut client = IdentityServiceClient::new(service.channel().await);
    if let Some(encoding) = encodings.0 {
        client = client.send_compressed(encoding);
    }
    if let Some(encoding) = encodings.1 {
        client = client.accept_compressed(encoding);
    }
    let mut request = Request::new(ListChannelsRequest {});
    for (key, value) in credentials("admin", ADMIN_KEY) {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    if let Some(most) = most {
        request.metadata_mut().insert("x-max-reply-bytes", most.parse().unwrap());
    }
    let reply = client.list_channels(request).await?;
    Ok(reply.map(|reply| reply.channels.len()))
}

#[tokio::test]
async fn requests_and_replies_may_be_gzipped_and_another_encoding_is_named() {
    use CompressionEncoding::{Deflate, Gzip};
    let service = Service::start().await;
    for (encodings, announced) in [
        ((None, None), None),
        ((Some(Gzip), None), None),
        ((Some(Gzip), Some(Gzip)), Some("gzip")),
        ((None, Some(Deflate)), None),
    ] {
        let reply = list(&service, encodings, None).await.unwrap();
        let encoding = reply.metadata().get("grpc-encoding").map(|value| value.to_str().unwrap());
        assert_eq!((*reply.get_ref(), encoding), (2, announced), "{encodings:?}");
    }
    let refused = list(&service, (Some(Deflate), None), None).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("deflate")), (Code::Unimplemented, true), "{refused:?}");
    assert_eq!(refused.metadata().get("grpc-accept-encoding").unwrap(), "gzip,identity");
}

#[tokio::test]
async fn a_reply_that_the_client_does_not_take_is_refused_in_words_that_say_how_to_take_it() {
    let service = Service::start().await;
    list(&service, (None, None), Some("10000")).await.unwrap();
    let refused = list(&service, (None, None), Some("10")).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "ANSWER_TOO_LARGE");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("x-max-reply-bytes is 10, and the reply has"), "{}", refused.message());
    let refused = list(&service, (None, None), Some("a lot")).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "FIELD_MALFORMED");
}

#[tokio::test]
async fn a_call_that_is_served_elsewhere_needs_no_credentials_to_be_told_so() {
    use communal_proto::billing::v1::package_price_service_client::PackagePriceServiceClient;
    let service = Service::start().await;
    let mut client = PackagePriceServiceClient::new(service.channel().await);
    let refused = client.query_sale_package_tags(QuerySalePackageTagsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert_eq!(refused.message(), "communal.billing.v1.PackagePriceService is served by billing; this is kit.");
}

#[tokio::test]
async fn a_stream_of_reflection_goes_on_after_an_unknown_name() {
    let service = Service::start().await;
    let questions = [
        MessageRequest::FileContainingSymbol("communal.billing.v1.PackageService".into()),
        MessageRequest::FileContainingSymbol("communal.identity.v1.IdentityService".into()),
        MessageRequest::ListServices(String::new()),
    ];
    let questions =
        questions.map(|question| ServerReflectionRequest { message_request: Some(question), host: String::new() });
    let mut client = ServerReflectionClient::new(service.channel().await);
    let answers = client.server_reflection_info(tokio_stream::iter(questions)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().message_response.unwrap()).collect().await;
    assert!(matches!(answers[0], MessageResponse::ErrorResponse(_)));
    assert!(matches!(answers[1], MessageResponse::FileDescriptorResponse(_)));
    let MessageResponse::ListServicesResponse(services) = &answers[2] else { panic!("{answers:?}") };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "communal.identity.v1.IdentityService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection"
        ]
    );
}
