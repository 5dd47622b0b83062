{{/* envoy/envoy.yaml, in which only this is another: addresses, origins, certificates, and a listener for figures. */}}
{{- define "countersign.bootstrap" -}}
{{- if .Values.edge.bootstrap -}}
{{ .Values.edge.bootstrap }}
{{- else -}}
{{- $envoy := .Files.Get "files/envoy.yaml" | fromYaml -}}
{{- $listener := first $envoy.static_resources.listeners -}}
{{- $_ := set $listener.address.socket_address "address" "0.0.0.0" -}}
{{- $chain := first $listener.filter_chains -}}
{{- $manager := (first $chain.filters).typed_config -}}
{{- if .Values.edge.trustedHops -}}
{{- $_ := set $manager "xff_num_trusted_hops" .Values.edge.trustedHops -}}
{{- end -}}
{{- if .Values.edge.tls.secret -}}
{{- $sds := dict "name" "edge" "sds_config" (dict "path_config_source" (dict "path" "/etc/countersign/bootstrap/tls.yaml")) -}}
{{- $context := dict
      "@type" "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
      "common_tls_context" (dict "alpn_protocols" (list "h2" "http/1.1") "tls_certificate_sds_secret_configs" (list $sds)) -}}
{{- $_ := set $chain "transport_socket" (dict "name" "envoy.transport_sockets.tls" "typed_config" $context) -}}
{{- end -}}
{{/* The list of the issuer. */}}
{{- $origins := list -}}
{{- range dig "cors" "origins" list .Values.issuer.settings }}{{ $origins = append $origins (dict "exact" .) }}{{ end -}}
{{- $cors := index (first $manager.route_config.virtual_hosts).typed_per_filter_config "envoy.filters.http.cors" -}}
{{- $_ := set $cors "allow_origin_string_match" $origins -}}
{{- $heap := index $envoy.overload_manager.resource_monitors 0 -}}
{{- $_ := set $heap.typed_config "max_heap_size_bytes" .Values.edge.maxHeapBytes -}}
{{- $issuer := include "countersign.issuerHost" . -}}
{{- $places := merge (dict "issuer" (dict "host" $issuer "port" 8001) "issuer-internal" (dict "host" $issuer "port" 8002)) .Values.edge.upstreams -}}
{{- $clusters := list -}}
{{- range $envoy.static_resources.clusters -}}
{{- if .load_assignment.endpoints -}}
{{- $place := get $places .name -}}
{{- if not $place -}}
{{- fail (printf "edge.upstreams has no %s, which envoy.yaml routes to" .name) -}}
{{- end -}}
{{- $address := (first (first .load_assignment.endpoints).lb_endpoints).endpoint.address.socket_address -}}
{{- $_ := set $address "address" $place.host -}}
{{- $_ := set $address "port_value" $place.port -}}
{{- $_ := set . "type" "STRICT_DNS" -}}
{{- $clusters = append $clusters .name -}}
{{- end -}}
{{- end -}}
{{- range $name, $place := .Values.edge.upstreams -}}
{{- if not (has $name $clusters) -}}
{{- fail (printf "edge.upstreams.%s: envoy.yaml has no such cluster; expected %s" $name (join ", " (without $clusters "issuer" "issuer-internal"))) -}}
{{- end -}}
{{- end -}}
{{- $added := .Files.Get "files/figures.yaml" | fromYaml -}}
{{- $_ := set $envoy.static_resources "listeners" (append $envoy.static_resources.listeners $added.listener) -}}
{{- $_ := set $envoy.static_resources "clusters" (append $envoy.static_resources.clusters $added.cluster) -}}
{{ toYaml $envoy }}
{{- end -}}
{{- end -}}

{{/* envoy/plugin/countersign.yaml, whose filter takes the tokens that this issuer makes. */}}
{{- define "countersign.plugin" -}}
{{- $plugin := .Files.Get "files/countersign.yaml" | fromYaml -}}
{{- $configuration := (first $plugin.resources).typed_config.config.configuration -}}
{{- $filter := .Values.edge.filter | default (fromJson $configuration.value) | deepCopy -}}
{{- with dig "tokens" "issuer" "" .Values.issuer.settings }}{{ $_ := set $filter "issuer" . }}{{ end -}}
{{- with dig "tokens" "audience" "" .Values.issuer.settings }}{{ $_ := set $filter "audiences" (list .) }}{{ end -}}
{{- with dig "tokens" "clock_skew" "" .Values.issuer.settings }}{{ $_ := set $filter "clock_skew" . }}{{ end -}}
{{- $_ := set $configuration "value" (toPrettyJson $filter) -}}
{{ toYaml $plugin }}
{{- end -}}
