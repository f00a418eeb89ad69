# An application with rapyerd beside it: the sidecar is there before the main task begins, and when that one, the
# leader, has ended, it gets its SIGTERM.
job "application" {
  type = "service"

  group "application" {
    count = 2

    task "rapyerd" {
      driver = "docker"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        image           = "rapyerd:0.1.0"
        args            = ["-c", "/local/rapyerd.conf", "-o", "listen.socket=/alloc/tmp/rapyerd.sock"]
        readonly_rootfs = true
        cap_drop        = ["all"]
      }

      template {
        destination = "local/rapyerd.conf"
        data        = <<-END
          [redis]
          redis = redis.service.consul:6379
          redis_password_file = /secrets/redis.password
        END
      }

      template {
        destination = "secrets/redis.password"
        perms       = "0400"
        uid         = 65532
        gid         = 65532
        data        = "{{ with nomadVar \"nomad/jobs/application\" }}{{ .redis_password }}{{ end }}"
      }

      kill_timeout = "10s"

      resources {
        cpu    = 100
        memory = 512
      }
    }

    task "application" {
      driver = "docker"
      leader = true

      config {
        image     = "application"
        group_add = ["65532"]
      }

      # The directory that all tasks of the group share.
      env {
        RAPYER_SOCKET = "/alloc/tmp/rapyerd.sock"
      }

      resources {
        cpu    = 500
        memory = 256
      }
    }
  }
}
