{{/* Everything is named as in deploy/k8s: runbooks, dashboards and network policies know these names. */}}

{{- define "carillon.recommended" -}}
app.kubernetes.io/part-of: carillon
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Labels of what belongs to one workload. Takes root, name, component. */}}
{{- define "carillon.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/component: {{ .component }}
{{ include "carillon.recommended" .root }}
{{- end }}

{{- define "carillon.image" -}}
{{- $image := .root.Values.image -}}
{{- $digest := get (default dict $image.digests) .name -}}
{{ $image.registry }}/{{ .name }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{- define "carillon.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "carillon.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Which services are there. */}}
{{- define "carillon.services" -}}
{{- $found := list -}}
{{- range list "router" "email" "sms" "push" "realtime" -}}
{{- if (get $.Values .).enabled -}}{{- $found = append $found . -}}{{- end -}}
{{- end -}}
{{- join " " $found -}}
{{- end }}

{{/* The settings of every service, with the channels that are left out. */}}
{{- define "carillon.common" -}}
{{- $settings := deepCopy .Values.common.settings -}}
{{- $without := list -}}
{{- range list "email" "sms" "push" "realtime" -}}
{{- if not (get $.Values .).enabled -}}{{- $without = append $without . -}}{{- end -}}
{{- end -}}
{{- if $without -}}
{{- $named := splitList "," (get $settings "CARILLON_WITHOUT" | default "" | toString) -}}
{{- $_ := set $settings "CARILLON_WITHOUT" (concat $named $without | compact | uniq | join ",") -}}
{{- end -}}
{{- range $name, $value := $settings }}
{{ $name }}: {{ $value | toString | quote }}
{{- end -}}
{{- end }}

{{/* The settings of one service, with what the sandbox puts in their place. Takes root, name. */}}
{{- define "carillon.settings" -}}
{{- $settings := deepCopy (get .root.Values .name).settings -}}
{{- if .root.Values.sandbox.enabled -}}
{{- $settings = mergeOverwrite $settings (deepCopy (get (default dict .root.Values.sandbox.settings) .name | default dict)) -}}
{{- end -}}
{{- range $name, $value := $settings -}}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ $value | toString | quote }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Public addresses: none of a cluster or a company network. */}}
{{- define "carillon.public" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
- ipBlock:
    cidr: ::/0
    except: ["::1/128", "fc00::/7", "fe80::/10"]
{{- end }}

{{- define "carillon.namespace" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ . }}
{{- end }}

{{/* The pods that use the broker and the store. */}}
{{- define "carillon.users" -}}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [service, console]
{{- end }}

{{/* How every autoscaler goes down: a pod at a time, each drains first. */}}
{{- define "carillon.scaleDown" -}}
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end }}

{{/* How every network policy begins. Takes root, name. */}}
{{- define "carillon.policy" }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  labels: {{- include "carillon.recommended" .root | nindent 4 }}
{{- end }}
